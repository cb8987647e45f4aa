"""The words of the shell in a script."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvsh.grammar import shell, transaction
from kvsh.grammar.vocabulary import Mistake
from kvsh.render import FORMATS
from kvsh.script.lines import SourceLine
from kvsh.ui.files import opened
from kvsh.ui.help import help_text

if TYPE_CHECKING:
    from kvsh.script.engine import Script

SOURCE_DEPTH_MAX = 16


class Stop(Exception):  # not an error
    """Ends the script before its last line."""


def act(script: "Script", command: shell.ShellWord, where: SourceLine) -> None:
    """Act on a word of the shell. Raises Mistake, and Stop when it ends the script."""
    action = ACTIONS.get(type(command))
    if action is None:
        only = ", and as `kvsh watch`" if isinstance(command, shell.Watch) else " only"
        raise Mistake(f"{command.command_name()} works at the prompt{only}")
    action(script, command, where)


def begin(script: "Script", command: shell.Begin, where: SourceLine) -> None:
    transaction.begin(script, command)
    script.begun = where


def commit(script: "Script", _: shell.Commit, where: SourceLine) -> None:
    gathering = transaction.require(script)
    script.open_transaction = None
    script.send(gathering.transaction(), where)


def discard(script: "Script", _: shell.Discard, __: SourceLine) -> None:
    transaction.require(script)
    script.open_transaction = None


def _show_help(script: "Script", command: shell.Help, _: SourceLine) -> None:
    text = help_text(command)
    if not script.quiet:
        script.output.data(FORMATS[script.form](command, text))


def _choose_format(script: "Script", command: shell.Format, _: SourceLine) -> None:
    script.form = format_of(command) or script.form


def source(script: "Script", command: shell.Source, _: SourceLine) -> None:
    """Run another file. Raises Mistake, Stop."""
    if script.depth == SOURCE_DEPTH_MAX:
        raise Mistake(f"SOURCE within SOURCE, more than {SOURCE_DEPTH_MAX} deep")
    name = os.fsdecode(command.file)
    with opened(name) as fd:
        script.depth += 1
        script.run_file(fd, name)
        script.depth -= 1


def _leave(script: "Script", _: shell.Quit | shell.Exit, __: SourceLine) -> None:  # noqa: ARG001
    raise Stop


ACTIONS: dict[type, Callable[["Script", Any, SourceLine], None]] = {
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
