"""A script: lines in, replies out in the same order, many commands in flight between.

No line is held back: what is whole is sent, and when the input pauses what is there is written. A line that
is no command, and a word of the shell, wait until all before them are answered, so the order is the script's.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, NamedTuple

import zmq

from kvd.client import Stream
from kvd.client.inflight import Outcome
from kvd.commands import Command
from kvd.commands.base import Error
from kvd.errors import ClientError, Unreachable
from kvsh.grammar import shell
from kvsh.grammar.gather import Gathering
from kvsh.grammar.parse import parse
from kvsh.grammar.vocabulary import Mistake
from kvsh.render import FORMATS
from kvsh.script.help import help_text
from kvsh.script.lines import Lines, LineTooLong
from kvsh.script.outcome import (
    INTERRUPTED,
    UNREACHED,
    Failure,
    exit_code,
    failure_document,
    failure_of,
    sentence,
)
from kvsh.script.output import Output
from kvsh.words import is_comment, shown

CHUNK_BYTES = 64 * 1024
SOURCE_DEPTH_MAX = 16
LINE_SHOWN_BYTES = 200
DRAIN_S = 1.0
UNSENT_POLL_MS = 20


class Where(NamedTuple):
    """A line of a script."""

    name: str
    number: int
    line: bytes


class Sent(NamedTuple):
    """A command under way and the line it came from."""

    where: Where
    command: Command


class Stop(Exception):  # it is no error
    """The script is over before its end."""


class Script:
    """A run of a script. `code` is its exit code so far; `stop_on_error` runs nothing after a line that fails."""

    def __init__(
        self,
        stream: Stream,
        output: Output,
        *,
        form: str,
        stop_on_error: bool = False,
        echo: bool = False,
        dry_run: bool = False,
        quiet: bool = False,
    ) -> None:
        self.stream = stream
        self.output = output
        self.form = form
        self.stop_on_error = stop_on_error
        self.echo = echo
        self.dry_run = dry_run
        self.quiet = quiet
        self.window = 1 if stop_on_error else stream.window
        self.gathering: Gathering | None = None
        self.begun: Where | None = None
        self.depth = 0
        self.count = 0
        self.failures = 0
        self.first: Where | None = None
        self.code = 0
        self.is_stopped = False

    def run(self, fd: int, name: str) -> int:
        """Run all lines of a descriptor; return the exit code."""
        try:
            self.run_file(fd, name)
            self.drain()
        except Stop:
            pass
        except KeyboardInterrupt:
            self.interrupted()
        self.end()
        return self.code

    def run_file(self, fd: int, name: str) -> None:
        """Run the lines of a descriptor, also from within a script; raises Stop."""
        lines, number = Lines(), 0
        while True:
            chunk = self.read(fd)
            try:
                whole = lines.feed(chunk) if chunk else lines.finish()
            except LineTooLong as error:
                self.fail(Mistake(str(error)), Where(name, number + 1, b""))
                raise Stop from None
            for number, line in enumerate(whole, number + 1):  # noqa: B020  # goes on counting
                self.take(Where(name, number, line))
            if not chunk:
                break
        self.check_committed()

    def read(self, fd: int) -> bytes:
        """Return the next bytes; while there are none, take replies and write them."""
        poller = zmq.Poller()
        poller.register(fd, zmq.POLLIN)
        self.stream.register(poller)
        events = dict(poller.poll(0))
        while fd not in events:
            self.stream.handle(events)
            self.took(self.stream.receive(0))
            self.output.flush()
            events = dict(poller.poll(self.wait_ms()))
        return os.read(fd, CHUNK_BYTES)

    def wait_ms(self) -> int | None:
        """Return how long nothing has to be done if nothing happens; None: forever."""
        if self.stream.pending.next_to_send() is not None:
            return UNSENT_POLL_MS
        deadline = self.stream.pending.next_deadline()
        return None if deadline is None else ceil(max(0.0, deadline - time.monotonic()) * 1000)

    def take(self, where: Where) -> None:
        """Run one line; raises Stop."""
        if self.is_stopped:
            raise Stop
        if is_comment(where.line):
            return
        self.count += 1
        try:
            command = parse(where.line)
            if self.echo:
                self.drain()
                self.output.data(shown(where.line).encode() + b"\n")
            if isinstance(command, shell.ShellWord):
                self.drain()
                self.act(command, where)
            elif self.gathering is not None:
                self.gathering.add(command)
            else:
                self.send(command, where)
        except Mistake as mistake:
            self.drain()
            self.fail(mistake, where)

    def send(self, command: Command, where: Where) -> None:
        """Send a command, when there is room."""
        if self.dry_run:
            return
        self.room(self.window - 1)
        self.stream.send(command, Sent(where, command))
        if self.stop_on_error:
            self.drain()

    def drain(self) -> None:
        """Take the outcomes of all that is under way."""
        self.room(0)

    def room(self, in_flight: int) -> None:
        """Take outcomes until no more than so many are awaited."""
        while self.stream.in_flight > in_flight:
            self.took(self.stream.receive())

    def took(self, outcomes: list[tuple[Any, Outcome]]) -> None:
        """Write outcomes; raises Stop at one that never came, or after a failure if so asked."""
        for at, (sent, outcome) in enumerate(outcomes):
            if isinstance(outcome, ClientError):
                self.lost(outcome, sent.where, len(outcomes) - at - 1)
            elif isinstance(outcome, Error):
                self.fail(failure_of(outcome), sent.where)
            elif not self.quiet:
                self.output.data(FORMATS[self.form](sent.command, outcome.result))

    def fail(self, failure: Failure, where: Where) -> None:
        """Count and tell a failure."""
        self.failures += 1
        self.code = self.code or exit_code(failure)
        self.first = self.first or where
        if self.gathering is not None:
            self.gathering.spoil()
        if self.form == "json":
            self.output.data(failure_document(failure, self.stream.endpoint))
        line = shown(where.line[:LINE_SHOWN_BYTES]).strip()
        self.output.message(
            f"kvsh: {where.name}:{where.number}: {sentence(failure, self.stream.endpoint)}"
            + (f"\n    {line}" if line else "")
        )
        if self.stop_on_error:
            raise Stop

    def lost(self, error: ClientError, where: Where, taken: int) -> None:
        """Tell that an outcome never came, and what that means for those after it; raises Stop."""
        after = self.stream.in_flight + taken
        self.stop_on_error = False
        self.code = UNREACHED
        self.fail(error, where)
        if after and not isinstance(error, Unreachable):
            self.output.message(f"kvsh: stopped; {after} commands sent after it have no known outcome either")
        raise Stop

    def interrupted(self) -> None:
        """Ctrl-C: send no more, give what is under way a second, tell where it ended."""
        until = time.monotonic() + DRAIN_S
        try:
            while self.stream.in_flight and (left := until - time.monotonic()) > 0:
                self.took(self.stream.receive(left))
        except (Stop, KeyboardInterrupt):
            pass
        unknown = f"; {self.stream.in_flight} have no known outcome" if self.stream.in_flight else ""
        self.output.message(f"kvsh: interrupted after {self.count} commands{unknown}")
        self.code = INTERRUPTED

    def end(self) -> None:
        """Write what is left, and the summary if something failed."""
        if self.failures and self.first and self.count > 1:
            self.output.message(
                f"kvsh: {self.failures} of {self.count} commands failed (first at line {self.first.number})"
            )
        self.output.flush()

    def check_committed(self) -> None:
        """Tell a BEGIN that nothing ended; what it gathered is dropped."""
        if self.gathering is not None and self.begun and self.depth == 0:
            self.drain()
            self.gathering = None
            self.fail(Mistake("this BEGIN has no COMMIT: what it gathered is discarded"), self.begun)

    # Words of the shell

    def act(self, command: shell.ShellWord, where: Where) -> None:
        """Do what a word of the shell says; raises Mistake."""
        action = ACTIONS.get(type(command))
        if action is None:
            raise Mistake(f"{command.command_name()} works at the prompt only")
        action(self, command, where)

    def begin(self, command: shell.Begin, where: Where) -> None:
        """Begin to gather."""
        if self.gathering is not None:
            raise Mistake("BEGIN within BEGIN: COMMIT or DISCARD first")
        self.gathering, self.begun = Gathering(command), where

    def commit(self, _: shell.Commit, where: Where) -> None:
        """Send what was gathered."""
        gathering = self.gathered()
        self.gathering = None
        self.send(gathering.transaction(), where)

    def discard(self, _: shell.Discard, __: Where) -> None:
        """Drop what was gathered."""
        self.gathered()
        self.gathering = None

    def gathered(self) -> Gathering:
        """Return what is being gathered; raises Mistake when nothing is."""
        if self.gathering is None:
            raise Mistake("there is no BEGIN before this")
        return self.gathering

    def help(self, command: shell.Help, _: Where) -> None:
        """Write help."""
        self.output.data(help_text(command).encode())

    def choose_format(self, command: shell.Format, _: Where) -> None:
        """Change the format."""
        self.form = format_of(command) or self.form

    def source(self, command: shell.Source, _: Where) -> None:
        """Run another file."""
        if self.depth == SOURCE_DEPTH_MAX:
            raise Mistake(f"SOURCE within SOURCE, more than {SOURCE_DEPTH_MAX} deep")
        name = os.fsdecode(command.file)
        with opened(name) as fd:
            self.depth += 1
            self.run_file(fd, name)
            self.depth -= 1

    def quit(self, _: shell.Quit, __: Where) -> None:
        """End."""
        raise Stop


ACTIONS: dict[type, Callable[..., None]] = {
    shell.Begin: Script.begin,
    shell.Commit: Script.commit,
    shell.Discard: Script.discard,
    shell.Help: Script.help,
    shell.Format: Script.choose_format,
    shell.Source: Script.source,
    shell.Quit: Script.quit,
    shell.Exit: Script.quit,
}


@contextmanager
def opened(name: str) -> Iterator[int]:
    """Open a file for reading; raises Mistake when that fails."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Mistake(f"cannot read {name}: {error.strerror}") from None
    except ValueError:
        raise Mistake("cannot read a file whose name has a NUL byte") from None
    try:
        if os.path.isdir(name):  # noqa: PTH112  # a descriptor of a directory opens and does not read
            raise Mistake(f"cannot read {name}: it is a directory")
        yield fd
    finally:
        os.close(fd)


def format_of(command: shell.Format) -> str | None:
    """Return the format that FORMAT names."""
    return next((name for name in FORMATS if getattr(command, name)), None)
