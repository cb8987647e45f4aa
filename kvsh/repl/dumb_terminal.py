"""A plain line reader, for terminals without cursor movement, and for `kvsh >file` at a terminal.

It runs lines with the script engine. Prompts and questions go to the terminal: to standard error if standard output is
redirected.
"""

import os
import sys
from contextlib import suppress

from kvd.client import Stream
from kvd.commands import Command
from kvd.commands.keys import Count
from kvd.errors import ClientError, KvdError, Unreachable
from kvsh.grammar import shell
from kvsh.grammar.aliases import expand
from kvsh.grammar.block import is_open
from kvsh.repl.confirm import deletions_of
from kvsh.script.actions import Stop
from kvsh.script.bulk import Sent
from kvsh.script.engine import Script
from kvsh.script.lines import SourceLine
from kvsh.script.report import Reporter
from kvsh.ui.outcome import OK, Failure, sentence
from kvsh.ui.output import Output, write_all
from kvsh.ui.settings import Settings
from kvsh.words import display_form

CONTINUATION = b'"> '


class Questions:
    """Asks before a command deletes many keys."""

    def __init__(self, stream: Stream, output: Output, *, confirm: bool) -> None:
        self.stream = stream
        self.output = output
        self.confirm = confirm

    def is_confirmed(self, command: Command) -> bool:
        """Return whether the user confirms a command that deletes many keys; others need no confirmation."""
        deletions = deletions_of(command, confirm=self.confirm)
        question = deletions.question([self._count_of(each.prefix) for each in deletions.prefixes])
        return question is None or self._ask(question)

    def _count_of(self, prefix: bytes) -> int | None:
        """Return how many keys begin with a prefix; None when the daemon does not answer COUNT."""
        try:
            count: int | None = self.stream.answer(Count(prefix)).result
        except KvdError:
            return None
        return count

    def _ask(self, question: str) -> bool:
        """Ask; return whether the answer is yes."""
        _write_prompt(self.output, f"{question} [y/N] ".encode())
        return sys.stdin.buffer.readline().strip().lower() in (b"y", b"yes")


class TypedReporter(Reporter):
    """Reports failures as the prompt does. `failed` has those since the last `forget`."""

    def __init__(self, output: Output, endpoint: str, *, form: str) -> None:
        super().__init__(output, endpoint, form=form)
        self.failed: list[Failure] = []

    def forget(self) -> None:
        """Forget earlier failures."""
        self.failed.clear()

    def report(self, failure: Failure, where: SourceLine) -> None:
        """Report a failure, with the line of the file that SOURCE runs."""
        self.failed.append(failure)
        place = f"{where.name}:{where.number}: " if where.name else ""
        self.output.message(f"(error) {place}{sentence(failure, self.endpoint)}")


class TypedScript(Script):
    """A script with typed lines: a failure is reported, and the next line runs."""

    reporter: TypedReporter

    def __init__(self, stream: Stream, reporter: TypedReporter, questions: Questions) -> None:
        super().__init__(stream, reporter)
        self.questions = questions

    def send(self, command: Command, where: SourceLine) -> None:
        """Send a command. A command that deletes many keys is sent only if the user confirms."""
        if self.depth or self.questions.is_confirmed(command):
            super().send(command, where)

    def run_command(self, command: Command, where: SourceLine) -> None:
        """Run a command. A transaction stays open if it could not be sent. Raises Mistake, Stop."""
        before = self.transaction.open
        self.reporter.forget()
        super().run_command(command, where)
        self.drain()
        is_unsent = any(isinstance(failure, Unreachable) for failure in self.reporter.failed)
        if isinstance(command, shell.Commit) and before is not None and is_unsent:
            self.transaction.reopen(before)
            self.output.message("the transaction is still open: COMMIT again, or DISCARD")

    def fail(self, failure: Failure, where: SourceLine) -> None:
        """Report a failure. An open transaction can still be sent, because the user has seen the message."""
        self.reporter.report(failure, where)

    def on_lost_reply(self, error: ClientError, sent: Sent) -> None:
        """Report that no reply came; the next line runs."""
        self.fail(error, sent.first)


class DumbShell:
    """A plain line reader."""

    def __init__(self, stream: Stream, output: Output, settings: Settings) -> None:
        self.output = output
        self.settings = settings
        self.reporter = TypedReporter(output, stream.endpoint, form=settings.form)
        self.script = TypedScript(stream, self.reporter, Questions(stream, output, confirm=settings.confirm))

    def run(self) -> None:
        """Prompt, read and run, until the input ends. Raises Stop."""
        self._start()
        while self._turn():
            pass

    def _start(self) -> None:
        """Run the `startup` commands of the configuration file, up to the first that fails. Raises Stop."""
        for line in self.settings.startup:
            self.reporter.forget()
            self._run_text(line.encode())
            if self.reporter.failed:
                self.output.message(
                    f"(error) startup stopped at this line of config.toml: {display_form(line.encode())}"
                )
                return

    def _run_text(self, text: bytes) -> None:
        """Run a typed line. Raises Stop."""
        self.script.take(SourceLine("", 0, expand(text, self.settings.aliases)))
        self.script.drain()

    def _turn(self) -> bool:
        """Read and run one line; return whether to continue. Raises Stop."""
        try:
            _write_prompt(self.output, f"{self.settings.profile or 'kvd'}{self.script.transaction.label()}> ".encode())
            line = _read_statement(self.output)
            if not line:
                _write_prompt(self.output, b"\n")
                return False
            self._run_text(line.rstrip(b"\r\n"))
        except KeyboardInterrupt:
            _write_prompt(self.output, b"\n")
        finally:
            self.output.flush()
        return True


def run(settings: Settings, output: Output) -> int:
    """Prompt, read and run, until the input ends or QUIT; return the exit code."""
    with Stream(**settings.stream) as stream, suppress(Stop):
        DumbShell(
            stream, Output(output.data_fd, output.message_fd, is_terminal=os.isatty(output.data_fd)), settings
        ).run()
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
