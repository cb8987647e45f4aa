"""What a person is asked about before it is done."""

from kvd.commands import Command, Write, syntax_of
from kvd.commands.reach import with_inner

QUESTION = "end ALL keys?"


def ends_everything(command: Command) -> bool:
    """Return whether a write works on all keys, itself or within: its prefix is needed and empty."""
    return any(isinstance(each, Write) and has_empty_prefix(each) for each in with_inner(command))


def has_empty_prefix(command: Command) -> bool:
    """Return whether a prefix that a command needs is empty."""
    prefixes = [each.field for each in syntax_of(type(command)).parameters if each.kind == "prefix" and each.required]
    return any(getattr(command, field) == b"" for field in prefixes)
