"""The words of the shell in a script."""

import os
from collections.abc import Callable
from typing import Any, Protocol

from kvsh.grammar import shell
from kvsh.grammar.transaction import TransactionState
from kvsh.grammar.vocabulary import Mistake
from kvsh.render import FORMATS
from kvsh.script.bulk import Sent
from kvsh.script.lines import SourceLine
from kvsh.script.report import Reporter
from kvsh.ui.files import opened
from kvsh.ui.help import help_text


class Stop(Exception):  # not an error
    """Ends the script before its last line."""


class Runner(Protocol):
    """The part of a script that the words use."""

    reporter: Reporter
    transaction: TransactionState

    def begin(self, command: shell.Begin, where: SourceLine) -> None:
        """Open a transaction. Raises Mistake when one is open."""

    def send(self, command: Any, where: SourceLine) -> None:
        """Send a command."""

    def run_nested(self, fd: int, name: str) -> None:
        """Run another file. Raises Mistake, Stop."""


def act(runner: Runner, command: shell.ShellWord, where: SourceLine) -> None:
    """Act on a word of the shell. Raises Mistake, and Stop when it ends the script."""
    action = ACTIONS.get(type(command))
    if action is None:
        only = ", and as `kvsh watch`" if isinstance(command, shell.Watch) else " only"
        raise Mistake(f"{command.command_name()} works at the prompt{only}")
    action(runner, command, where)


def begin(runner: Runner, command: shell.Begin, where: SourceLine) -> None:
    runner.begin(command, where)


def commit(runner: Runner, _: shell.Commit, where: SourceLine) -> None:
    runner.send(runner.transaction.close().transaction(), where)


def discard(runner: Runner, _: shell.Discard, __: SourceLine) -> None:
    runner.transaction.close()


def _show_help(runner: Runner, command: shell.Help, where: SourceLine) -> None:
    runner.reporter.write_result(Sent([where], command), help_text(command))


def _choose_format(runner: Runner, command: shell.Format, _: SourceLine) -> None:
    if form := format_of(command):
        runner.reporter.choose_format(form)


def source(runner: Runner, command: shell.Source, _: SourceLine) -> None:
    """Run another file. Raises Mistake, Stop."""
    name = os.fsdecode(command.file)
    with opened(name) as fd:
        runner.run_nested(fd, name)


def _leave(_: Runner, __: shell.Quit | shell.Exit, ___: SourceLine) -> None:
    raise Stop


ACTIONS: dict[type, Callable[[Runner, Any, SourceLine], None]] = {
    shell.Begin: begin,
    shell.Commit: commit,
    shell.Discard: discard,
    shell.Help: _show_help,
    shell.Format: _choose_format,
    shell.Source: source,
    shell.Quit: _leave,
    shell.Exit: _leave,
}


def format_of(command: shell.Format) -> str | None:
    """Return the format that FORMAT names, or None."""
    return next((name for name in FORMATS if getattr(command, name)), None)
