"""Runs a line typed at the prompt: sends a command, or acts on a word of the shell."""

import asyncio
import os
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import count
from typing import Any, Protocol

from prompt_toolkit.shortcuts import clear

from kvd.client.aio import AsyncClient
from kvd.commands import Command
from kvd.commands.keys import Count
from kvd.errors import KvdError, Refused, Unreachable
from kvsh.grammar import shell
from kvsh.grammar.aliases import expand
from kvsh.grammar.line import Line, Sink, split_prompt_line
from kvsh.grammar.parse import command_of
from kvsh.grammar.vocabulary import Mistake, name_shown
from kvsh.render import FORMATS, READ, safe_pieces
from kvsh.render.pretty import pretty_lines
from kvsh.repl.confirm import deletions_of
from kvsh.repl.redirect import store
from kvsh.repl.source import Source
from kvsh.repl.state import SessionState
from kvsh.repl.threads import in_thread
from kvsh.repl.watcher import Watcher
from kvsh.script.actions import format_of
from kvsh.ui.help import help_text
from kvsh.ui.looks import change_text, paint_lines
from kvsh.ui.outcome import OK, sentence, typed_as
from kvsh.ui.settings import Settings
from kvsh.words import is_comment

SLOW_S = 0.5
REDIRECTED = {
    ">": 'the bare word > is a redirection; in quotes, ">", it is the character',
    ">>": 'the bare word >> is a redirection; in quotes, ">>", it is the characters',
}


class ConnectionsPort(Protocol):
    """The part of the daemon's connections that actions use."""

    client: AsyncClient

    async def require_daemon(self) -> None:
        """Return if a daemon answers. Raises KvdError, at once if the connection is refused."""


class ScreenPort(Protocol):
    """The part of the screen that actions use."""

    def write(self, text: str) -> None:
        """Write text."""

    def show_error(self, text: str) -> None:
        """Write an error."""

    def show_note(self, text: str) -> None:
        """Write a note."""

    def redraw(self) -> None:
        """Draw the prompt again."""

    async def show(self, make: Callable[[], Iterator[bytes]]) -> None:
        """Write a result of any length. Its pieces are made as they are written."""

    async def lend(self, program: str, text: Iterable[bytes]) -> int:
        """Give the terminal to a program."""
        raise NotImplementedError

    async def write_above(self, text: str) -> None:
        """Write above the prompt."""

    async def ask(self, question: str) -> bool:
        """Ask; return whether the answer is yes."""
        raise NotImplementedError


class AlreadyReported(Exception):  # not a defect
    """A failure with a message that has been written."""


class Actions:
    """Runs lines for a prompt."""

    def __init__(
        self, settings: Settings, state: SessionState, connections: ConnectionsPort, screen: ScreenPort
    ) -> None:
        self.settings = settings
        self.state = state
        self.connections = connections
        self.screen = screen
        self.words: dict[type, Callable[[Any], Awaitable[None]]] = {
            shell.Begin: self._begin,
            shell.Discard: self._discard,
            shell.Watch: self._watch,
            shell.Unwatch: self._end_watch,
            shell.Source: self._source,
            shell.Format: self._choose_format,
            shell.Timing: self._choose_timing,
            shell.ClearScreen: self._clear_screen,
            shell.Quit: self._leave,
            shell.Exit: self._leave,
        }

    async def run_line(self, line: bytes) -> bool:
        """Run a line; return whether it succeeded."""
        if is_comment(line):
            return True
        try:
            parts, command = self.read(line)
            if isinstance(command, shell.Every):
                await self._repeat(command, parts)
                return True
            for _ in range(parts.times):
                await self._run_command(command, parts.sink)
        except AlreadyReported:
            return False
        except (Mistake, KvdError) as failure:
            self.screen.show_error(sentence(failure, self.settings.url))
            for note in getattr(failure, "__notes__", ()):
                self.screen.show_note(note)
            if isinstance(failure, Unreachable):
                self.state.set_connected(False)
            return False
        return True

    def read(self, line: bytes) -> tuple[Line, Command]:
        """Return the parts of a line, and its command. Raises Mistake."""
        parts = split_prompt_line(expand(line, self.settings.aliases))
        return parts, command_of(parts.words)

    async def _run_command(self, command: Command, sink: Sink | None) -> None:
        """Send a command, collect it, or act on a word. Raises Mistake, KvdError, AlreadyReported."""
        if isinstance(command, shell.Help):
            await self._show_help(f"{help_text(command)}\n".encode(), sink)
        elif isinstance(command, shell.Commit):
            await self._commit(sink)
        elif self.state.transaction.open is None and not isinstance(command, shell.ShellWord):
            await self._send(command, sink)
        elif sink is not None:
            raise Mistake(f"{command.command_name()} has no result here to {sink.sign}")
        elif isinstance(command, shell.ShellWord):
            await self.words[type(command)](command)
        else:
            self.state.transaction.require().add(command)

    async def _send(self, command: Command, sink: Sink | None) -> bool:
        """Send a command and write its result; return whether it was confirmed. Raises Mistake, KvdError."""
        if not await self._confirm(command):
            return False
        if not self.state.is_connected:
            with typed_as(command.command_name(), "PING"):
                await self.connections.require_daemon()
        started = time.monotonic()
        result = (await self.connections.client.answer(command)).result
        duration = time.monotonic() - started
        self.state.set_connected(True)
        if sink is None:
            await self.screen.show(lambda: self._pieces(command, result))
        else:
            form = "raw" if self.state.form in READ else self.state.form
            await self._redirect(await in_thread(lambda: FORMATS[form](command, result)), sink)
        if duration >= SLOW_S or self.state.always_timed:
            self.screen.write(f"({duration:.3f} s)\n")
        return True

    def _pieces(self, command: Command, result: Any) -> Iterator[bytes]:
        """Return a result in pieces for the screen."""
        if self.state.form == "pretty" and self.settings.color:
            return iter([paint_lines(pretty_lines(command, result))])
        return safe_pieces(self.state.form, command, result)

    async def _confirm(self, command: Command) -> bool:
        """Return whether the user confirms a command that deletes many keys; others need no confirmation."""
        deletions = deletions_of(command, confirm=self.settings.confirm)
        question = deletions.question([await self._count(each.prefix) for each in deletions.prefixes])
        return question is None or await self.screen.ask(question)

    async def _count(self, prefix: bytes) -> int | None:
        """Return how many keys begin with a prefix; None when the daemon refuses COUNT."""
        try:
            count: int | None = (await self.connections.client.answer(Count(prefix))).result
        except Refused:
            return None
        return count

    async def _redirect(self, data: bytes, sink: Sink) -> None:
        """Send a result to a program or a file. Raises Mistake."""
        if sink.sign == "|":
            await self.screen.lend(os.fsdecode(sink.target), [data])
            return
        name = os.fsdecode(sink.target)
        await in_thread(lambda: store(data, name, at_end=sink.sign == ">>"))
        self.screen.show_note(
            f"{count_text(len(data), 'byte')} written to {name_shown(sink.target)}: {REDIRECTED[sink.sign]}"
        )

    # The words of the shell

    async def _show_help(self, text: bytes, sink: Sink | None) -> None:
        """Show a page of help, or send it to a program or a file. Raises Mistake."""
        await (self._redirect(text, sink) if sink else self.screen.show(lambda: iter([text])))

    async def _begin(self, command: shell.Begin) -> None:
        self.state.transaction.begin(command)

    async def _commit(self, sink: Sink | None) -> None:
        """Send the transaction. It stays open when it is certain that nothing was sent."""
        command = self.state.transaction.require().transaction()
        open_transaction = self.state.transaction.close()
        try:
            with typed_as("COMMIT", "TRANSACTION"):
                if not await self._send(command, sink):
                    self.state.transaction.reopen(open_transaction)
        except Unreachable as failure:
            self.state.transaction.reopen(open_transaction)
            failure.add_note("the transaction is still open: COMMIT again, or DISCARD")
            raise
        except KvdError as failure:
            failure.add_note(
                f"the transaction is closed: {count_text(len(open_transaction.commands), 'command')} dropped"
            )
            raise

    async def _repeat(self, command: shell.Every, parts: Line) -> None:
        """Run a command at intervals until Ctrl-C, or up to the count. Raises as `_run_command` does."""
        self.state.transaction.refuse_within(command)
        with self.state.without_paging():
            for number in count(1):
                if parts.sink is None:
                    self.screen.show_note(time.strftime("%H:%M:%S"))
                await self._run_command(command.again, parts.sink)
                if number == parts.times != 1:
                    return
                if await _is_interrupted(command.pause_ms / 1000):
                    self.screen.write("\n")  # the terminal has echoed ^C
                    return

    async def _discard(self, _: shell.Discard) -> None:
        count = len(self.state.transaction.close().commands)
        self.screen.write(f"discarded {count_text(count, 'command')}\n")

    async def _watch(self, command: shell.Watch) -> None:
        """Start to show changes; an earlier watch ends."""
        await self.state.stop_watch()
        line_of = partial(change_text, color=self.settings.color)
        watcher = Watcher(self.connections.client, command, self.screen.write_above, self.screen.redraw, line_of)
        try:
            with typed_as("WATCH", "CHANGES"):
                self.screen.write(await watcher.start() + "\n")
        except BaseException:
            await watcher.stop()
            raise
        self.state.start_watch(watcher)

    async def _end_watch(self, _: shell.Unwatch) -> None:
        """Stop showing changes, and write where a later watch resumes."""
        watcher = self.state.watcher
        if watcher is not None and watcher.end is None:
            self.screen.write(watcher.resume + "\n")
        await self.state.stop_watch()

    async def _source(self, command: shell.Source) -> None:
        """Run a file. Raises Mistake, AlreadyReported."""
        self.state.transaction.refuse_within(command)
        source = Source(self.settings, self.state.form)
        try:
            code = await source.run(os.fsdecode(command.file))
        except CancelledError:
            self.screen.write(f"interrupted after {count_text(source.count, 'command')}\n")
            raise
        if code != OK:
            raise AlreadyReported

    async def _choose_format(self, command: shell.Format) -> None:
        """Change the format, and show it."""
        if form := format_of(command):
            self.state.choose_format(form)
        self.screen.write(f"format is {self.state.form.upper()}\n")

    async def _choose_timing(self, command: shell.Timing) -> None:
        """Change whether durations are shown, and show the choice."""
        if command.on or command.off:
            self.state.choose_timing(always=bool(command.on))
        self.screen.write(f"timing is {'ON' if self.state.always_timed else 'OFF'}\n")

    async def _clear_screen(self, _: shell.ClearScreen) -> None:
        clear()

    async def _leave(self, _: shell.Quit | shell.Exit) -> None:
        self.state.leave()


async def _is_interrupted(pause_s: float) -> bool:
    """Wait between two runs of a command; return whether Ctrl-C came. No command is in flight then."""
    try:
        await asyncio.sleep(pause_s)
    except CancelledError:
        return True
    return False


def count_text(count: int, thing: str) -> str:
    """Return `1 command`, `2 commands`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
