"""A plain line reader, for terminals on which a cursor cannot be moved, and for `kvsh >file` at a terminal.

The script engine does the work. Prompts and questions go to the terminal: to standard error if the output is elsewhere.
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
    """A script whose lines a person types: a failure is told and forgotten."""

    def __init__(self, stream: Stream, output: Output, *, form: str, confirm: bool = True) -> None:
        super().__init__(stream, output, form=form)
        self.stream = stream
        self.confirm = confirm
        self.aliases = NO_ALIASES
        self.failed: list[Failure] = []

    def start(self, lines: Iterable[str]) -> None:
        """Run the commands that the person's file has for the start, up to the first that fails; raises Stop."""
        for line in lines:
            self.failed.clear()
            self.run_text(line.encode())
            if self.failed:
                self.output.message(
                    f"(error) startup stopped at this line of config.toml: {display_form(line.encode())}"
                )
                return

    def run_text(self, text: bytes) -> None:
        """Run what was typed; raises Stop."""
        self.take(SourceLine("", 0, expand(text, self.aliases)))
        self.drain()

    def send(self, command: Command, where: SourceLine) -> None:
        """Send a command; what ends many keys only if the person agrees."""
        if self.depth or self._is_wanted(command):
            super().send(command, where)

    def _is_wanted(self, command: Command) -> bool:
        """Return whether the person wants a command that ends many keys; any other is not asked about."""
        lost = deletions_of(command, confirm=self.confirm)
        question = lost.question([self._count_of(each.prefix) for each in lost.prefixes])
        return question is None or self.is_agreed(question)

    def _count_of(self, prefix: bytes) -> int | None:
        """Return how many keys begin with a prefix; None when the daemon does not say."""
        try:
            count: int | None = self.stream.answer(Count(prefix)).result
        except KvdError:
            return None
        return count

    def is_agreed(self, question: str) -> bool:
        """Ask; return whether the answer is yes."""
        _read_answer(self.output, f"{question} [y/N] ".encode())
        return sys.stdin.buffer.readline().strip().lower() in (b"y", b"yes")

    def run_command(self, command: Command, where: SourceLine) -> None:
        """Do what a line says. What COMMIT could not send stays gathered. Raises Mistake, Stop."""
        gathering = self.open_transaction
        self.failed.clear()
        super().run_command(command, where)
        self.drain()
        if isinstance(command, shell.Commit) and any(isinstance(failure, Unreachable) for failure in self.failed):
            self.open_transaction = gathering
            self.output.message("still gathered: COMMIT again or DISCARD")

    def fail(self, failure: Failure, where: SourceLine) -> None:
        """Tell a failure, and the line of the file that SOURCE runs."""
        self.failed.append(failure)
        place = f"{where.name}:{where.number}: " if where.name else ""
        self.output.message(f"(error) {place}{sentence(failure, self.endpoint)}")

    def lost(self, error: ClientError, sent: Sent) -> None:
        """Tell that no reply came, and go on."""
        self.fail(error, sent.first)


def run(settings: Settings, output: Output) -> int:
    """Prompt, read, run, until the input ends or QUIT."""
    output.is_terminal = os.isatty(output.data_fd)
    with Stream(**settings.stream) as stream:
        talk = DumbShell(stream, output, form=settings.form, confirm=settings.confirm)
        talk.aliases = settings.aliases
        with suppress(Stop):
            talk.start(settings.startup)
            while _turn(talk, settings.profile or "kvd"):
                pass
    return OK


def _read_answer(output: Output, text: bytes) -> None:
    """Write a prompt, a question or the end of its line, after all results so far."""
    output.flush()
    write_all(output.data_fd if os.isatty(output.data_fd) else output.message_fd, text)


def _read_statement(output: Output) -> bytes:
    """Return a line and, while a quote is open, those after it; nothing at the end of the input."""
    lines = line = sys.stdin.buffer.readline()
    while line and is_open(lines.removesuffix(b"\n")):
        _read_answer(output, CONTINUATION)
        line = sys.stdin.buffer.readline()
        lines += line
    return lines


def _turn(talk: DumbShell, name: str) -> bool:
    """Read and run one line; return whether to go on."""
    gathered = f"(tx:{len(talk.open_transaction.commands)})" if talk.open_transaction else ""
    try:
        _read_answer(talk.output, f"{name}{gathered}> ".encode())
        line = _read_statement(talk.output)
        if not line:
            _read_answer(talk.output, b"\n")
            return False
        talk.run_text(line.rstrip(b"\r\n"))
    except KeyboardInterrupt:
        _read_answer(talk.output, b"\n")
    finally:
        talk.output.flush()
    return True
