"""What a result means, where the wire leaves it to the command: nil as OK, results within results."""

from typing import Any

from kvd.commands import Command, Write, syntax_of
from kvd.commands.atomic import Once
from kvd.commands.syntax import Shape


class Status(str):
    """A word of the shell's or the daemon's, shown without quotes."""

    __slots__ = ()


OK = Status("OK")


def displayed_result(command: Command, result: Any) -> Any:
    """Return a result with OK for the nil of a write that has nothing to tell; also within a transaction."""
    if isinstance(result, list) and isinstance(inner := getattr(command, "commands", None), list):
        return [displayed_result(each, its) for each, its in zip(inner, result, strict=True)]
    if isinstance(command, Once):
        return displayed_result(command.write, result)
    return OK if result is None and _is_done_by_nil(command) else result


def _is_done_by_nil(command: Command) -> bool:
    """Return whether nil means that it was done: for a write that was given values and not asked for the one before."""
    if not isinstance(command, Write) or getattr(command, "previous", None):
        return False
    return any(each.kind == "value" or each.shape is Shape.PAIRS for each in syntax_of(type(command)).parameters)
