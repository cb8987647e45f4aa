"""Writes the results and failures of a script, and keeps its exit code."""

from typing import Any

from kvsh.render import FORMATS
from kvsh.render.terminal import terminal_pieces
from kvsh.script.bulk import Sent
from kvsh.script.lines import SourceLine
from kvsh.ui.outcome import Failure, exit_code, failure_document, sentence
from kvsh.ui.output import Output
from kvsh.words import display_form

LINE_SHOWN_BYTES = 200


class Reporter:
    """The output of a script. `code` is the exit code so far: that of the first failure."""

    def __init__(self, output: Output, endpoint: str, *, form: str, quiet: bool = False) -> None:
        self.output = output
        self.endpoint = endpoint
        self.form = form
        self.quiet = quiet
        self.failures = 0
        self.first: SourceLine | None = None
        self.code = 0

    def choose_format(self, form: str) -> None:
        """Write the following results in another format."""
        self.form = form

    def write_result(self, sent: Sent, result: Any) -> None:
        """Write the result of a command, or the same result of several SETs."""
        if self.quiet:
            return
        if self.form == "terminal" and sent.size == 1:
            for piece in terminal_pieces(sent.command, result):
                self.output.safe_data(piece)
        else:
            self.output.data(FORMATS[self.form](sent.command, result) * sent.size)

    def report(self, failure: Failure, where: SourceLine) -> None:
        """Count a failure, and write a message with its line."""
        self.failures += 1
        self.code = self.code or exit_code(failure)
        self.first = self.first or where
        if self.form == "json":
            self.output.data(failure_document(failure, self.endpoint))
        line = display_form(where.line[:LINE_SHOWN_BYTES]).strip()
        self.output.message(
            f"kvsh: {where.name}:{where.number}: {sentence(failure, self.endpoint)}" + (f"\n    {line}" if line else "")
        )

    def end_with(self, code: int) -> None:
        """Set the exit code, in place of that of an earlier failure."""
        self.code = code

    def end(self, count: int) -> None:
        """Write buffered output, and a summary if one of `count` commands failed."""
        if self.failures and self.first and count > 1:
            self.output.message(f"kvsh: {self.failures} of {count} commands failed (first at line {self.first.number})")
        self.output.end()
