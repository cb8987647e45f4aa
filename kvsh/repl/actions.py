"""What a line typed at the prompt does: a command is sent, a word of the shell is acted on."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from prompt_toolkit.shortcuts import clear

from kvd.client import Stream
from kvd.client.aio import AsyncClient
from kvd.commands import Command, Write, syntax_of
from kvd.errors import ClientError, KvdError
from kvsh.grammar import shell
from kvsh.grammar.gather import Gathering
from kvsh.grammar.line import Sink, taken_apart
from kvsh.grammar.parse import command_of
from kvsh.grammar.vocabulary import Mistake
from kvsh.render import FORMATS
from kvsh.repl.sink import pour
from kvsh.repl.watcher import Watcher
from kvsh.script.actions import format_of
from kvsh.script.engine import Script
from kvsh.script.files import opened
from kvsh.script.help import help_text
from kvsh.script.outcome import sentence
from kvsh.script.output import Output
from kvsh.script.settings import Settings
from kvsh.words import is_comment, shown

SLOW_S = 0.5


class Front(Protocol):
    """The prompt, as far as actions need it."""

    settings: Settings
    output: Output
    client: AsyncClient
    form: str
    always_timed: bool
    is_connected: bool
    is_left: bool
    gathering: Gathering | None
    watcher: Watcher | None

    def write(self, text: str) -> None:
        """Write text."""

    def tell_error(self, text: str) -> None:
        """Write an error."""

    def redraw(self) -> None:
        """Show the prompt anew."""

    async def write_above(self, text: str) -> None:
        """Write above the prompt."""

    async def is_agreed(self, question: str) -> bool:
        """Ask."""
        raise NotImplementedError


class Actions:
    """Runs lines for a prompt."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.words: dict[type, Callable[[Any], Awaitable[None]]] = {
            shell.Begin: self.begin,
            shell.Commit: self.commit,
            shell.Discard: self.discard,
            shell.Watch: self.watch,
            shell.Unwatch: self.unwatch,
            shell.Help: self.help,
            shell.Source: self.source,
            shell.Format: self.choose_format,
            shell.Timing: self.choose_timing,
            shell.ClearScreen: self.clear_screen,
            shell.Quit: self.leave,
            shell.Exit: self.leave,
        }

    async def run_line(self, line: bytes) -> bool:
        """Run a line; return whether all went well."""
        if is_comment(line):
            return True
        try:
            said = taken_apart(line)
            command = command_of(said.words)
            for _ in range(said.times):
                await self.run_command(command, said.sink)
        except (Mistake, KvdError) as failure:
            self.front.tell_error(sentence(failure, self.front.settings.url))
            self.front.is_connected = not isinstance(failure, ClientError)
            return False
        return True

    async def run_command(self, command: Command, sink: Sink | None) -> None:
        """Run a command, gather it, or do what a word of the shell says; raises Mistake, KvdError."""
        if isinstance(command, shell.ShellWord):
            await self.words[type(command)](command)
        elif self.front.gathering is not None:
            self.front.gathering.add(command)
        else:
            await self.run(command, sink)

    async def run(self, command: Command, sink: Sink | None = None) -> None:
        """Send a command and show its result, or pour it where the line says; raises Mistake, KvdError."""
        if ends_everything(command) and not await self.front.is_agreed("end ALL keys?"):
            return
        started = time.monotonic()
        result = (await self.front.client.answer(command)).result
        took = time.monotonic() - started
        self.front.is_connected = True
        if sink is None:
            self.front.write(shown(FORMATS[self.front.form](command, result)))
        else:
            form = "raw" if self.front.form == "terminal" else self.front.form
            await pour(FORMATS[form](command, result), sink)
        if took >= SLOW_S or self.front.always_timed:
            self.front.write(f"({took:.3f} s)\n")

    # Words of the shell

    async def begin(self, command: shell.Begin) -> None:
        """Begin to gather."""
        if self.front.gathering is not None:
            raise Mistake("BEGIN within BEGIN: COMMIT or DISCARD first")
        self.front.gathering = Gathering(command)

    async def commit(self, _: shell.Commit) -> None:
        """Send what was gathered."""
        transaction = self.gathered().transaction()
        self.front.gathering = None
        await self.run(transaction)

    async def discard(self, _: shell.Discard) -> None:
        """Drop what was gathered."""
        count = len(self.gathered().commands)
        self.front.gathering = None
        self.front.write(f"discarded {count} commands\n")

    def gathered(self) -> Gathering:
        """Return what is being gathered; raises Mistake when nothing is."""
        if self.front.gathering is None:
            raise Mistake("there is no BEGIN before this")
        return self.front.gathering

    async def watch(self, command: shell.Watch) -> None:
        """Begin to show changes; an earlier watch ends."""
        await self.unwatch()
        watcher = Watcher(self.front.client, command, self.front.write_above, self.front.redraw)
        try:
            self.front.write(await watcher.start() + "\n")
        except BaseException:
            await watcher.stop()
            raise
        self.front.watcher = watcher

    async def unwatch(self, _: shell.Unwatch | None = None) -> None:
        """Show changes no more."""
        if self.front.watcher is not None:
            await self.front.watcher.stop()
            self.front.watcher = None

    async def help(self, command: shell.Help) -> None:
        """Show help."""
        self.front.write(help_text(command))

    async def source(self, command: shell.Source) -> None:
        """Run a file through the script engine, in a thread with a connection of its own."""
        if self.front.gathering is not None:
            raise Mistake("SOURCE within BEGIN: COMMIT or DISCARD first")
        name = os.fsdecode(command.file)
        scripts: list[Script] = []
        try:
            await asyncio.to_thread(self.run_file, name, scripts)
        except asyncio.CancelledError:
            for script in scripts:
                script.is_stopped = True
            raise

    def run_file(self, name: str, scripts: list[Script]) -> None:
        """Run a file; raises Mistake when it cannot be read."""
        settings = self.front.settings
        with opened(name) as fd:
            stream = Stream(**settings.connection)
            scripts.append(Script(stream, self.front.output, form=self.front.form))
            try:
                scripts[0].run(fd, name)
            finally:
                stream.close()

    async def choose_format(self, command: shell.Format) -> None:
        """Change the format, or tell it."""
        self.front.form = format_of(command) or self.front.form
        self.front.write(f"format is {self.front.form.upper()}\n")

    async def choose_timing(self, command: shell.Timing) -> None:
        """Change when times are told, or tell it."""
        if command.on or command.off:
            self.front.always_timed = bool(command.on)
        self.front.write(f"timing is {'ON' if self.front.always_timed else 'OFF'}\n")

    async def clear_screen(self, _: shell.ClearScreen) -> None:
        """Clear the screen."""
        clear()

    async def leave(self, _: shell.Quit | shell.Exit) -> None:
        """Leave."""
        self.front.is_left = True


def ends_everything(command: Command) -> bool:
    """Return whether a write works on all keys: its prefix is needed and empty."""
    prefixes = [each.field for each in syntax_of(type(command)).parameters if each.kind == "prefix" and each.required]
    return isinstance(command, Write) and any(getattr(command, field) == b"" for field in prefixes)
