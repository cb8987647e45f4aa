"""INFO, CONFIG, COMMANDS and CLIENTS: the answers about the daemon itself."""

import os
import platform
from collections.abc import Callable
from typing import Any

from kvd.commands import COMMANDS, syntax_of
from kvd.errors import BadArgument, UnknownCommand
from kvd.server.background import AdminTasks
from kvd.server.slow_log import SlowLog

Section = Callable[[], dict[str, Any]]


class Introspection:
    """Answers commands about the daemon: the `Daemon` of the commands. `sections` are INFO's, by name."""

    def __init__(
        self,
        sections: dict[str, Section],
        tasks: AdminTasks,
        *,
        options: Section = dict,
        slowlog: SlowLog | None = None,
        clients: Callable[[], list[dict[str, Any]]] = list,
    ) -> None:
        self.sections = sections
        self.options = options
        self.check = tasks.check
        self.back_up = tasks.back_up
        self.slow_commands = (slowlog or SlowLog()).rows
        self.clients = clients

    def info(self, section: str | None) -> dict[str, dict[str, Any]]:
        """Return all sections, or one."""
        if section is None:
            return {name: facts() for name, facts in self.sections.items()}
        name = section.lower()
        if name not in self.sections:
            raise BadArgument(f"INFO has no section {section!r}: the sections are {', '.join(self.sections)}")
        return {name: self.sections[name]()}

    def config(self, name: str | None) -> dict[str, dict[str, Any]]:
        """Return all options, or one."""
        options = self.options()
        if name is None:
            return options
        key = name.lower().replace("-", "_")
        if key not in options:
            raise BadArgument(f"no option {name!r} exists: the options are {', '.join(options)}")
        return {key: options[key]}

    def commands(self, name: str | None) -> list[dict[str, Any]]:
        """Return the table of commands, or the row of one."""
        if name is None:
            return [syntax_of(command).as_map() for command in COMMANDS.values()]
        command = COMMANDS.get(name.upper())
        if command is None:
            raise UnknownCommand(f"no command {name!r} exists: COMMANDS lists them")
        return [syntax_of(command).as_map()]


def process_facts() -> dict[str, Any]:
    """Return the constant facts of this process."""
    return {"pid": os.getpid(), "python": platform.python_version()}
