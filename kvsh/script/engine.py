"""A run of a script: lines in, replies out in the same order, many commands in flight.

No line is held back: complete lines are sent, and replies are written when the input pauses. A line that is not a
command, and a word of the shell, wait until everything before them is answered, so the order is the script's.
"""

import os
import stat
import time
from contextlib import suppress

from kvd.client.outcomes import Outcome
from kvd.client.stream import Stream
from kvd.commands import Command
from kvd.commands.atomic import Transaction
from kvd.commands.base import Error
from kvd.errors import ClientError, Unreachable
from kvsh.grammar import shell
from kvsh.grammar.parse import parse
from kvsh.grammar.transaction import OpenTransaction
from kvsh.grammar.vocabulary import Mistake
from kvsh.render import FORMATS
from kvsh.render.terminal import terminal_pieces
from kvsh.script.actions import Stop, act
from kvsh.script.bulk import BLOCK_LINES, BLOCK_LINES_MIN, Sent, plain_set, plain_sets
from kvsh.script.lines import LineBlock, Lines, LineTooLong, SourceLine
from kvsh.script.sender import Sender
from kvsh.ui.outcome import (
    INTERRUPTED,
    UNREACHABLE,
    Failure,
    as_typed,
    exit_code,
    failure_document,
    failure_of,
    sentence,
)
from kvsh.ui.output import Output
from kvsh.words import display_form, is_comment

CHUNK_BYTES = 64 * 1024
LINE_SHOWN_BYTES = 200
DRAIN_S = 1.0
NAME_BYTES = 40
NO_SCRIPT = "this is binary data, not a script (a script is UTF-8): `kvsh set KEY -x <FILE` stores a file"


class Script:
    """A run of a script. `code` is its exit code so far; with `stop_on_error` nothing runs after a line that fails."""

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
        self.output = output
        self.form = form
        self.stop_on_error = stop_on_error
        self.echo = echo
        self.dry_run = dry_run
        self.quiet = quiet
        self.endpoint = stream.endpoint
        self.sender = Sender(stream, 1 if stop_on_error else stream.window, self.on_outcome, output.flush)
        self.is_bulky = not (stop_on_error or echo or dry_run)
        self.open_transaction: OpenTransaction | None = None
        self.begun: SourceLine | None = None
        self.depth = 0
        self.count = 0
        self.failures = 0
        self.first: SourceLine | None = None
        self.code = 0
        self.is_stopped = False
        self.started = time.monotonic()
        self.bytes_read = 0

    def run(self, fd: int, name: str) -> int:
        """Run all lines of a descriptor; return the exit code."""
        try:
            self.run_file(fd, name)
            self.drain()
        except Stop:
            pass
        except KeyboardInterrupt:
            self.on_interrupt()
        self.end()
        return self.code

    def run_file(self, fd: int, name: str) -> None:
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
                self.bytes_read += len(chunk)
                self._draw_progress(size)
        self._check_committed()

    def run_block(self, run: LineBlock) -> None:
        """Run a block of lines. Raises Stop. If the lines are not all plain SETs, try each half."""
        if self.is_stopped:
            raise Stop
        if self.is_bulky and self.open_transaction is None and (pairs := plain_sets(run.lines)):
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
        if self.is_bulky and self.open_transaction is None and (pair := plain_set(where.line)):
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
        if self.failures == self.count - 1 and _is_binary(where.line):
            self.fail(Mistake(NO_SCRIPT), where._replace(line=b""))
            raise Stop

    def run_command(self, command: Command, where: SourceLine) -> None:
        """Send a command, add it to the transaction, or act on a word of the shell. Raises Mistake, Stop."""
        if self.echo:
            self.drain()
            self.output.data(display_form(where.line).encode() + b"\n")
        if isinstance(command, shell.ShellWord):
            self.drain()
            act(self, command, where)
        elif self.open_transaction is not None:
            self.open_transaction.add(command)
        else:
            self.send(command, where)

    def send(self, command: Command, where: SourceLine) -> None:
        if not self.dry_run:
            self.sender.send(command, where)

    def drain(self) -> None:
        self.sender.drain()

    def on_outcome(self, sent: Sent, outcome: Outcome) -> None:
        """Write an outcome. Raises Stop when no reply came, or after a failure with `stop_on_error`."""
        if isinstance(sent.command, Transaction) and isinstance(outcome, Error):
            outcome = as_typed(outcome, "TRANSACTION", "COMMIT")
        if isinstance(outcome, ClientError):
            self.on_lost_reply(outcome, sent)
        elif isinstance(outcome, Error):
            failure = failure_of(outcome)
            for where in sent.each():
                self.fail(failure, where)
        elif self.form == "terminal" and sent.size == 1 and not self.quiet:
            for piece in terminal_pieces(sent.command, outcome.result):
                self.output.safe_data(piece)
        elif not self.quiet:
            self.output.data(FORMATS[self.form](sent.command, outcome.result) * sent.size)

    def fail(self, failure: Failure, where: SourceLine) -> None:
        """Count and report a failure. Raises Stop with `stop_on_error`."""
        self.failures += 1
        self.code = self.code or exit_code(failure)
        self.first = self.first or where
        if self.open_transaction is not None:
            self.open_transaction.mark_failed()
        if self.form == "json":
            self.output.data(failure_document(failure, self.endpoint))
        line = display_form(where.line[:LINE_SHOWN_BYTES]).strip()
        self.output.message(
            f"kvsh: {where.name}:{where.number}: {sentence(failure, self.endpoint)}" + (f"\n    {line}" if line else "")
        )
        if self.stop_on_error:
            raise Stop

    def on_lost_reply(self, error: ClientError, sent: Sent) -> None:
        """Report a missing reply, and how many later commands have no known outcome either. Raises Stop."""
        after = self.sender.awaited + sent.size - 1
        self.stop_on_error = False
        self.code = UNREACHABLE
        self.fail(error, sent.first)
        if after and not isinstance(error, Unreachable):
            self.output.message(f"kvsh: stopped; {after} commands sent after it have no known outcome either")
        raise Stop

    def on_interrupt(self) -> None:
        """Handle Ctrl-C: send nothing more, wait a second for outcomes, report where the script stopped."""
        with suppress(Stop, KeyboardInterrupt):
            self.sender.drain_for(DRAIN_S)
        unknown = f"; {self.sender.awaited} have no known outcome" if self.sender.awaited else ""
        self.output.message(f"kvsh: interrupted after {self.count - len(self.sender.bulk.pairs)} commands{unknown}")
        self.code = INTERRUPTED

    def end(self) -> None:
        """Write buffered output, and a summary if a command failed."""
        if self.failures and self.first and self.count > 1:
            self.output.message(
                f"kvsh: {self.failures} of {self.count} commands failed (first at line {self.first.number})"
            )
        self.output.end()

    def _draw_progress(self, size: int | None) -> None:
        """Draw the progress, if enabled: commands, rate, errors, and the share of a file."""
        progress = self.output.progress
        if progress is not None and progress.is_due():
            rate = self.count / (time.monotonic() - self.started)
            share = f"{100 * self.bytes_read // max(size, 1)} %  " if size is not None else ""
            progress.draw(f"{share}{self.count:,} commands  {rate:,.0f}/s  {self.failures:,} errors")

    def _check_committed(self) -> None:
        """Report a BEGIN without COMMIT or DISCARD, and drop its commands."""
        if self.open_transaction is not None and self.begun and self.depth == 0:
            self.drain()
            self.open_transaction = None
            self.fail(Mistake("this BEGIN has no COMMIT: its commands are discarded"), self.begun)


def _is_binary(line: bytes) -> bool:
    """Return whether the first word of a line is not text."""
    name = line.lstrip()[:NAME_BYTES].split(None, 1)[0]
    return not name.decode(errors="surrogateescape").isprintable()


def _size_of(fd: int) -> int | None:
    """Return the size of a regular file; None for anything else."""
    status = os.fstat(fd)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
