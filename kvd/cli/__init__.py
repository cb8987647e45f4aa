"""The command `kvd`: a file for each of its commands, imported when the command is asked for.

All of them together take 0.3 s to import, which `kvd --version` and `kvd keygen` need not wait for.
"""

import sys
from collections import UserDict
from collections.abc import Iterator
from importlib import import_module

import click

from kvd.version import VERSION

COMMANDS = {  # module and name in it
    "backup": ("kvd.cli.offline", "backup_command"),
    "check": ("kvd.cli.offline", "check_command"),
    "export": ("kvd.cli.transfer", "export_command"),
    "gateway": ("kvd.cli.gateway", "gateway"),
    "import": ("kvd.cli.transfer", "import_command"),
    "keygen": ("kvd.cli.keygen", "keygen"),
    "metrics": ("kvd.cli.metrics", "metrics"),
    "restore": ("kvd.cli.offline", "restore_command"),
    "serve": ("kvd.cli.serve", "serve"),
}
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
POSIX_MODULES = frozenset({"fcntl", "grp", "pwd", "resource", "termios"})


class Commands(UserDict[str, click.Command]):
    """The commands by name; each is imported when it is asked for."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __getitem__(self, name: str) -> click.Command:
        """Import a command. Where a module of POSIX is missing, return one that refuses."""
        module, attribute = COMMANDS[name]
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name not in POSIX_MODULES:
                raise
            return unavailable(name)
        return command


def unavailable(name: str) -> click.Command:
    """Return a command that says that it needs another system."""

    def refuse() -> None:
        click.echo(f"kvd: `kvd {name}` needs Linux; the client, `from kvd import Client`, runs here too", err=True)
        sys.exit(UNAVAILABLE)

    anything = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}
    return click.Command(
        name, callback=refuse, context_settings=anything, help="It needs Linux.", add_help_option=False
    )


@click.group(commands=Commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="kvd")
def main() -> None:
    """Run kvd, a key-value daemon."""
