"""A pasted block: checked whole before its first line runs, then run up to the first line that fails."""

from typing import Protocol

from kvd.commands import Command
from kvsh.grammar.block import Rehearsal, Statement, to_run
from kvsh.grammar.transaction import OpenTransaction
from kvsh.grammar.vocabulary import Mistake
from kvsh.repl.encoding import as_text
from kvsh.words import display_form

NOT_RUN = "nothing of this block has run. A value of several lines stands in quotes"


class Runner(Protocol):
    """The prompt, as far as a block needs it."""

    open_transaction: OpenTransaction | None
    is_left: bool

    def show_error(self, text: str) -> None:
        """Write an error."""

    def show_note(self, text: str) -> None:
        """Write something by the way."""

    def command_of(self, line: bytes) -> Command:
        """Return the command of a line; raises Mistake."""
        raise NotImplementedError

    async def run_line(self, line: str) -> bool:
        """Run a line; return whether all went well."""
        raise NotImplementedError


class Block:
    """The statements of a text that say something; `line_count` counts all lines of the text."""

    def __init__(self, text: bytes) -> None:
        self.statements = to_run(text)
        self.line_count = text.count(b"\n") + 1

    def wrong(self, runner: Runner) -> str | None:
        """Return what is wrong with the first statement that could not run; None when all are well formed."""
        rehearsal = Rehearsal(runner.open_transaction)
        for statement in self.statements:
            try:
                rehearsal.take(runner.command_of(statement.text))
            except Mistake as mistake:
                return f"line {statement.numbers()} of {self.line_count}: {mistake}"
        return None

    async def run(self, runner: Runner) -> None:
        """Check the block, and run its statements up to the first that fails."""
        if wrong := self.wrong(runner):
            runner.show_error(display_form(wrong.encode(errors="replace")).replace("\n", " "))
            runner.show_error(NOT_RUN)
            return
        for done, statement in enumerate(self.statements, 1):
            runner.show_note(f"{statement.numbers()}/{self.line_count}> {display_form(statement.text)}")
            is_well = await runner.run_line(as_text(statement.text))
            if runner.is_left:
                return
            if not is_well:
                runner.show_error(self._stop_message(statement, len(self.statements) - done))
                return

    def _stop_message(self, statement: Statement, left: int) -> str:
        """Return the sentence for a block that ends before its end."""
        after = f"{left} {'command' if left == 1 else 'commands'} after it not run"
        return f"stopped at line {statement.numbers()} of {self.line_count}: {after}"
