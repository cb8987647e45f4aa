"""A pasted block: checked as a whole before its first line runs, then run up to the first line that fails."""

from typing import Protocol

from kvd.commands import Command
from kvsh.grammar.block import Rehearsal, Statement, to_run
from kvsh.grammar.vocabulary import Mistake
from kvsh.repl.encoding import as_text
from kvsh.repl.state import SessionState
from kvsh.words import display_form

NOT_RUN = "nothing of this block has run. Put a value of several lines in quotes"


class Messages(Protocol):
    """The part of the screen that a block uses."""

    def show_error(self, text: str) -> None:
        """Write an error."""

    def show_note(self, text: str) -> None:
        """Write a note."""


class Runner(Protocol):
    """The part of the prompt that a block uses."""

    def command_of(self, line: bytes) -> Command:
        """Return the command of a line. Raises Mistake."""
        raise NotImplementedError

    async def run_line(self, line: str) -> bool:
        """Run a line; return whether it succeeded."""
        raise NotImplementedError


class Block:
    """The statements of a text without comments; `line_count` counts all lines of the text."""

    def __init__(self, text: bytes) -> None:
        self.statements = to_run(text)
        self.line_count = text.count(b"\n") + 1

    def _find_problem(self, state: SessionState, runner: Runner) -> str | None:
        """Return the problem with the first statement that could not run, or None."""
        rehearsal = Rehearsal(state.transaction.open)
        for statement in self.statements:
            try:
                rehearsal.take(runner.command_of(statement.text))
            except Mistake as mistake:
                return f"line {statement.numbers()} of {self.line_count}: {mistake}"
        return None

    async def run(self, state: SessionState, screen: Messages, runner: Runner) -> None:
        """Check the block, and run its statements up to the first that fails."""
        if problem := self._find_problem(state, runner):
            screen.show_error(display_form(problem.encode(errors="replace")).replace("\n", " "))
            screen.show_error(NOT_RUN)
            return
        for done, statement in enumerate(self.statements, 1):
            screen.show_note(f"{statement.numbers()}/{self.line_count}> {display_form(statement.text)}")
            succeeded = await runner.run_line(as_text(statement.text))
            if state.is_left:
                return
            if not succeeded:
                screen.show_error(self._stop_message(statement, len(self.statements) - done))
                return

    def _stop_message(self, statement: Statement, left: int) -> str:
        """Return the sentence about a block that stopped before its end."""
        after = f"{left} {'command' if left == 1 else 'commands'} after it did not run"
        return f"stopped at line {statement.numbers()} of {self.line_count}: {after}"
