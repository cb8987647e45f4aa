"""What a person is asked about before it is done."""

from kvd.commands import Command, Write, syntax_of

QUESTION = "end ALL keys?"


def ends_everything(command: Command) -> bool:
    """Return whether a write works on all keys, itself or within: its prefix is needed and empty."""
    inner = getattr(command, "commands", None) or [getattr(command, "command", None)]
    if any(isinstance(each, Command) and ends_everything(each) for each in inner):
        return True
    prefixes = [each.field for each in syntax_of(type(command)).parameters if each.kind == "prefix" and each.required]
    return isinstance(command, Write) and any(getattr(command, field) == b"" for field in prefixes)
