"""What the daemon says of itself: counters, kept as plain ints on the hot path, and INFO's sections."""

import os
import platform
from collections.abc import Callable
from typing import Any

from kvd.commands import COMMANDS, syntax_of
from kvd.errors import BadArgument, UnknownCommand
from kvd.server.tasks import Upkeep

Section = Callable[[], dict[str, Any]]


class Facts:
    """Answers what commands ask: the `Daemon` of the commands."""

    def __init__(self, sections: dict[str, Section], upkeep: Upkeep) -> None:
        self.sections = sections
        self.check = upkeep.check
        self.back_up = upkeep.back_up

    def info(self, section: str | None) -> dict[str, dict[str, Any]]:
        """Return all sections, or one."""
        if section is None:
            return {name: tell() for name, tell in self.sections.items()}
        name = section.lower()
        if name not in self.sections:
            raise BadArgument(f"INFO has no section {section!r}: there are {', '.join(self.sections)}")
        return {name: self.sections[name]()}

    def commands(self, name: str | None) -> list[dict[str, Any]]:
        """Return the table of commands as data, or the row of one."""
        if name is None:
            return [syntax_of(command).as_map() for command in COMMANDS.values()]
        command = COMMANDS.get(name.upper())
        if command is None:
            raise UnknownCommand(f"there is no command {name!r}: COMMANDS lists them")
        return [syntax_of(command).as_map()]


def process_facts() -> dict[str, Any]:
    """Return what is true of this process as long as it runs."""
    return {"pid": os.getpid(), "python": platform.python_version()}
