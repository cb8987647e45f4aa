"""The meaning of a result where the wire leaves it to the command: nil as OK, nested results."""

from typing import Any

from kvd.commands import Command, Write, syntax_of
from kvd.commands.atomic import Once
from kvd.commands.syntax import Shape


class Status(str):
    """A status word, shown without quotes."""

    __slots__ = ()


OK = Status("OK")


def display_result(command: Command, result: Any) -> Any:
    """Return a result with OK in place of the nil of a successful write, also within a transaction."""
    if isinstance(result, list) and isinstance(inner := getattr(command, "commands", None), list):
        return [display_result(each, its) for each, its in zip(inner, result, strict=True)]
    if isinstance(command, Once):
        return display_result(command.write, result)
    return OK if result is None and _is_done_by_nil(command) else result


def _is_done_by_nil(command: Command) -> bool:
    """Return whether nil means success: for a write that takes a value and was not sent with PREVIOUS."""
    if not isinstance(command, Write) or getattr(command, "previous", None):
        return False
    return any(each.kind == "value" or each.shape is Shape.PAIRS for each in syntax_of(type(command)).parameters)
