"""A plain line reader, for terminals without cursor movement, and for `kvsh >file` at a terminal.

It runs lines with the script engine. Prompts and questions go to the terminal: to standard error if standard output is
redirected.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from kvd.client import Stream
from kvd.commands import Command
from kvd.commands.keys import Count
from kvd.errors import ClientError, KvdError, Unreachable
from kvsh.grammar import shell
from kvsh.grammar.aliases import NO_ALIASES, expand
from kvsh.grammar.block import is_open
from kvsh.repl.confirm import deletions_of
from kvsh.script.actions import Stop
from kvsh.script.bulk import Sent
from kvsh.script.engine import Script
from kvsh.script.lines import SourceLine
from kvsh.ui.outcome import OK, Failure, sentence
from kvsh.ui.output import Output, write_all
from kvsh.ui.settings import Settings
from kvsh.words import display_form

CONTINUATION = b'"> '


class DumbShell(Script):
    """A script with typed lines: a failure is reported, and the next line runs."""

    def __init__(self, stream: Stream, output: Output, *, form: str, confirm: bool = True) -> None:
        super().__init__(stream, output, form=form)
        self.stream = stream
        self.confirm = confirm
        self.aliases = NO_ALIASES
        self.failed: list[Failure] = []

    def start(self, lines: Iterable[str]) -> None:
        """Run the `startup` commands of the configuration file, up to the first that fails. Raises Stop."""
        for line in lines:
            self.failed.clear()
            self.run_text(line.encode())
            if self.failed:
                self.output.message(
                    f"(error) startup stopped at this line of config.toml: {display_form(line.encode())}"
                )
                return

    def run_text(self, text: bytes) -> None:
        """Run a typed line. Raises Stop."""
        self.take(SourceLine("", 0, expand(text, self.aliases)))
        self.drain()

    def send(self, command: Command, where: SourceLine) -> None:
        """Send a command. A command that deletes many keys is sent only if the user confirms."""
        if self.depth or self._is_confirmed(command):
            super().send(command, where)

    def _is_confirmed(self, command: Command) -> bool:
        """Return whether the user confirms a command that deletes many keys; others need no confirmation."""
        deletions = deletions_of(command, confirm=self.confirm)
        question = deletions.question([self._count_of(each.prefix) for each in deletions.prefixes])
        return question is None or self.ask(question)

    def _count_of(self, prefix: bytes) -> int | None:
        """Return how many keys begin with a prefix; None when the daemon does not answer COUNT."""
        try:
            count: int | None = self.stream.answer(Count(prefix)).result
        except KvdError:
            return None
        return count

    def ask(self, question: str) -> bool:
        """Ask; return whether the answer is yes."""
        _write_prompt(self.output, f"{question} [y/N] ".encode())
        return sys.stdin.buffer.readline().strip().lower() in (b"y", b"yes")

    def run_command(self, command: Command, where: SourceLine) -> None:
        """Run a command. A transaction stays open if it could not be sent. Raises Mistake, Stop."""
        gathering = self.open_transaction
        self.failed.clear()
        super().run_command(command, where)
        self.drain()
        if isinstance(command, shell.Commit) and any(isinstance(failure, Unreachable) for failure in self.failed):
            self.open_transaction = gathering
            self.output.message("the transaction is still open: COMMIT again, or DISCARD")

    def fail(self, failure: Failure, where: SourceLine) -> None:
        """Report a failure, with the line of the file that SOURCE runs."""
        self.failed.append(failure)
        place = f"{where.name}:{where.number}: " if where.name else ""
        self.output.message(f"(error) {place}{sentence(failure, self.endpoint)}")

    def on_lost_reply(self, error: ClientError, sent: Sent) -> None:
        """Report that no reply came; the next line runs."""
        self.fail(error, sent.first)


def run(settings: Settings, output: Output) -> int:
    """Prompt, read and run, until the input ends or QUIT."""
    output.is_terminal = os.isatty(output.data_fd)
    with Stream(**settings.stream) as stream:
        reader = DumbShell(stream, output, form=settings.form, confirm=settings.confirm)
        reader.aliases = settings.aliases
        with suppress(Stop):
            reader.start(settings.startup)
            while _turn(reader, settings.profile or "kvd"):
                pass
    return OK


def _write_prompt(output: Output, text: bytes) -> None:
    """Write a prompt, a question or a newline, after all results so far."""
    output.flush()
    write_all(output.data_fd if os.isatty(output.data_fd) else output.message_fd, text)


def _read_statement(output: Output) -> bytes:
    """Return a line, and more lines while a quote is open; empty at the end of the input."""
    lines = line = sys.stdin.buffer.readline()
    while line and is_open(lines.removesuffix(b"\n")):
        _write_prompt(output, CONTINUATION)
        line = sys.stdin.buffer.readline()
        lines += line
    return lines


def _turn(reader: DumbShell, name: str) -> bool:
    """Read and run one line; return whether to continue."""
    transaction = f"(tx:{len(reader.open_transaction.commands)})" if reader.open_transaction else ""
    try:
        _write_prompt(reader.output, f"{name}{transaction}> ".encode())
        line = _read_statement(reader.output)
        if not line:
            _write_prompt(reader.output, b"\n")
            return False
        reader.run_text(line.rstrip(b"\r\n"))
    except KeyboardInterrupt:
        _write_prompt(reader.output, b"\n")
    finally:
        reader.output.flush()
    return True
