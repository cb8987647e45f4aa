"""The commands of the daemon: one class per command, grouped by family.

The wire format, the shell's grammar, hints, completion, HELP, COMMANDS and the manual derive from these classes.
CONTRIBUTING.md lists the steps to add a command.
"""

from kvd.commands import atomic, changes, expiry, inspection, keys, server, values
from kvd.commands.base import BackgroundCommand, Command, Read, ServerCommand, Write, commands_in
from kvd.commands.syntax import Syntax, syntax_of

FAMILIES = (values, keys, expiry, atomic, changes, server, inspection)
COMMANDS: dict[str, type[Command]] = {cls.command_name(): cls for cls in commands_in(FAMILIES)}

__all__ = [
    "COMMANDS",
    "FAMILIES",
    "BackgroundCommand",
    "Command",
    "Read",
    "ServerCommand",
    "Syntax",
    "Write",
    "syntax_of",
]
