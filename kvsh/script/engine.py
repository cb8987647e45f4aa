"""A run of a script: lines in, replies out in the same order, many commands in flight.

No line is held back: complete lines are sent, and replies are written when the input pauses. A line that is not a
command, and a word of the shell, wait until everything before them is answered, so the order is the script's.
"""

import os
import stat
import time
from contextlib import suppress
from typing import NamedTuple

from kvd.client.outcomes import Outcome
from kvd.client.stream import Stream
from kvd.commands import Command
from kvd.commands.atomic import Transaction
from kvd.commands.base import Error
from kvd.errors import ClientError, Unreachable
from kvsh.grammar import shell
from kvsh.grammar.parse import parse
from kvsh.grammar.transaction import TransactionState
from kvsh.grammar.vocabulary import Mistake
from kvsh.script.actions import Stop, act
from kvsh.script.bulk import BLOCK_LINES, BLOCK_LINES_MIN, Sent, plain_set, plain_sets
from kvsh.script.lines import LineBlock, Lines, LineTooLong, SourceLine
from kvsh.script.report import Reporter
from kvsh.script.sender import Sender
from kvsh.ui.outcome import INTERRUPTED, UNREACHABLE, Failure, as_typed, failure_of
from kvsh.ui.output import Output
from kvsh.words import display_form, is_comment

CHUNK_BYTES = 64 * 1024
DRAIN_S = 1.0
SOURCE_DEPTH_MAX = 16
NAME_BYTES = 40
NO_SCRIPT = "this is binary data, not a script (a script is UTF-8): `kvsh set KEY -x <FILE` stores a file"


class ScriptOptions(NamedTuple):
    """The options of a run of a script."""

    stop_on_error: bool = False
    echo: bool = False
    dry_run: bool = False


DEFAULT_OPTIONS = ScriptOptions()


class InputProgress:
    """Draws the progress of a script, if enabled: commands, rate, failures, and the share of a file."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.started = time.monotonic()
        self.bytes_read = 0

    def add(self, length: int) -> None:
        """Count input that has been read."""
        self.bytes_read += length

    def draw(self, size: int | None, commands: int, failures: int) -> None:
        """Draw the line if it is due. `size` is that of a file."""
        progress = self.output.progress
        if progress is not None and progress.is_due():
            rate = commands / (time.monotonic() - self.started)
            share = f"{100 * self.bytes_read // max(size, 1)} %  " if size is not None else ""
            progress.draw(f"{share}{commands:,} commands  {rate:,.0f}/s  {failures:,} errors")


class Script:
    """A run of a script. `reporter` writes its results and has its exit code."""

    def __init__(self, stream: Stream, reporter: Reporter, options: ScriptOptions = DEFAULT_OPTIONS) -> None:
        self.reporter = reporter
        self.output = reporter.output
        self.options = options
        window = 1 if options.stop_on_error else stream.window
        self.sender = Sender(stream, window, self.on_outcome, self.output.flush)
        self.is_bulky = not any(options)
        self.transaction = TransactionState()
        self.begun: SourceLine | None = None
        self.depth = 0
        self.count = 0
        self.is_stopped = False
        self.progress = InputProgress(self.output)

    def run(self, fd: int, name: str) -> int:
        """Run all lines of a descriptor; return the exit code."""
        try:
            self._run_file(fd, name)
            self.drain()
        except Stop:
            pass
        except KeyboardInterrupt:
            self.on_interrupt()
        self.reporter.end(self.count)
        return self.reporter.code

    def _run_file(self, fd: int, name: str) -> None:
        """Run the lines of a descriptor, also from within a script. Raises Stop."""
        lines, number = Lines(), 0
        size = _size_of(fd)
        while True:
            self.sender.wait_for(fd)
            chunk = os.read(fd, CHUNK_BYTES)
            try:
                whole = lines.feed(chunk) if chunk else lines.finish()
            except LineTooLong as error:
                self.fail(Mistake(str(error)), SourceLine(name, number + 1, b""))
                raise Stop from None
            for run in LineBlock(name, number + 1, whole).parts(BLOCK_LINES):
                self.run_block(run)
            number += len(whole)
            if not chunk:
                break
            if self.depth == 0:
                self.progress.add(len(chunk))
                self.progress.draw(size, self.count, self.reporter.failures)
        self._check_committed()

    def run_nested(self, fd: int, name: str) -> None:
        """Run another file. Raises Mistake, Stop."""
        if self.depth == SOURCE_DEPTH_MAX:
            raise Mistake(f"SOURCE within SOURCE, more than {SOURCE_DEPTH_MAX} deep")
        self.depth += 1
        try:
            self._run_file(fd, name)
        finally:
            self.depth -= 1

    def run_block(self, run: LineBlock) -> None:
        """Run a block of lines. Raises Stop. If the lines are not all plain SETs, try each half."""
        if self.is_stopped:
            raise Stop
        if self.is_bulky and self.transaction.open is None and (pairs := plain_sets(run.lines)):
            self.count += len(pairs)
            self.sender.gather(pairs, run)
        elif self.is_bulky and len(run.lines) > BLOCK_LINES_MIN:
            for half in run.parts((len(run.lines) + 1) // 2):
                self.run_block(half)
        else:
            for where in run.each():
                self.take(where)

    def take(self, where: SourceLine) -> None:
        """Run one line. Raises Stop."""
        if self.is_stopped:
            raise Stop
        if self.is_bulky and self.transaction.open is None and (pair := plain_set(where.line)):
            self.count += 1
            self.sender.gather([pair], where)
        elif not is_comment(where.line):
            self.count += 1
            try:
                self.run_command(parse(where.line), where)
            except Mistake as mistake:
                self.drain()
                self._check_script(where)
                self.fail(mistake, where)

    def _check_script(self, where: SourceLine) -> None:
        """Raise Stop if a file begins with binary data: a line of an image may be a valid command."""
        if self.reporter.failures == self.count - 1 and _is_binary(where.line):
            self.fail(Mistake(NO_SCRIPT), where._replace(line=b""))
            raise Stop

    def run_command(self, command: Command, where: SourceLine) -> None:
        """Send a command, add it to the transaction, or act on a word of the shell. Raises Mistake, Stop."""
        if self.options.echo:
            self.drain()
            self.output.data(display_form(where.line).encode() + b"\n")
        if isinstance(command, shell.ShellWord):
            self.drain()
            act(self, command, where)
        elif self.transaction.open is not None:
            self.transaction.open.add(command)
        else:
            self.send(command, where)

    def send(self, command: Command, where: SourceLine) -> None:
        if not self.options.dry_run:
            self.sender.send(command, where)

    def drain(self) -> None:
        self.sender.drain()

    def begin(self, command: shell.Begin, where: SourceLine) -> None:
        """Open a transaction. Raises Mistake when one is open."""
        self.transaction.begin(command)
        self.begun = where

    def stop(self) -> None:
        """Run no more lines. May be called from another thread."""
        self.is_stopped = True

    def on_outcome(self, sent: Sent, outcome: Outcome) -> None:
        """Write an outcome. Raises Stop when no reply came, or after a failure with `stop_on_error`."""
        if isinstance(outcome, ClientError):
            self.on_lost_reply(outcome, sent)
        elif isinstance(outcome, Error):
            is_commit = isinstance(sent.command, Transaction)
            failure = failure_of(as_typed(outcome, "TRANSACTION", "COMMIT") if is_commit else outcome)
            for where in sent.each():
                self.fail(failure, where)
        else:
            self.reporter.write_result(sent, outcome.result)

    def fail(self, failure: Failure, where: SourceLine) -> None:
        """Report a failure. Raises Stop with `stop_on_error`."""
        self._report(failure, where)
        if self.options.stop_on_error:
            raise Stop

    def _report(self, failure: Failure, where: SourceLine) -> None:
        """Report a failure. The rest of an open transaction is not sent."""
        if self.transaction.open is not None:
            self.transaction.open.mark_failed()
        self.reporter.report(failure, where)

    def on_lost_reply(self, error: ClientError, sent: Sent) -> None:
        """Report a missing reply, and how many later commands have no known outcome either. Raises Stop."""
        after = self.sender.awaited + sent.size - 1
        self.reporter.end_with(UNREACHABLE)
        self._report(error, sent.first)
        if after and not isinstance(error, Unreachable):
            self.output.message(f"kvsh: stopped; {after} commands sent after it have no known outcome either")
        raise Stop

    def on_interrupt(self) -> None:
        """Handle Ctrl-C: send nothing more, wait a second for outcomes, report where the script stopped."""
        with suppress(Stop, KeyboardInterrupt):
            self.sender.drain_for(DRAIN_S)
        unknown = f"; {self.sender.awaited} have no known outcome" if self.sender.awaited else ""
        self.output.message(f"kvsh: interrupted after {self.count - len(self.sender.bulk.pairs)} commands{unknown}")
        self.reporter.end_with(INTERRUPTED)

    def _check_committed(self) -> None:
        """Report a BEGIN without COMMIT or DISCARD, and drop its commands."""
        if self.transaction.open is not None and self.begun and self.depth == 0:
            self.drain()
            self.transaction.close()
            self.fail(Mistake("this BEGIN has no COMMIT: its commands are discarded"), self.begun)


def _is_binary(line: bytes) -> bool:
    """Return whether the first word of a line is not text."""
    name = line.lstrip()[:NAME_BYTES].split(None, 1)[0]
    return not name.decode(errors="surrogateescape").isprintable()


def _size_of(fd: int) -> int | None:
    """Return the size of a regular file; None for anything else."""
    status = os.fstat(fd)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
