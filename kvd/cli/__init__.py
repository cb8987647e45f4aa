"""The command `kvd`: a file for each subcommand, imported when it is used.

Importing all of them takes 0.3 s, which `kvd --version` and `kvd keygen` do not need.
"""

from collections import UserDict
from collections.abc import Iterator
from importlib import import_module

import click

from kvd.cli.exits import UNAVAILABLE, fail
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
POSIX_MODULES = frozenset({"fcntl", "grp", "pwd", "resource", "termios"})


class Commands(UserDict[str, click.Command]):
    """The subcommands by name, imported on access."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __getitem__(self, name: str) -> click.Command:
        """Import a command. Where it needs a missing module of POSIX, return a command that refuses."""
        module, attribute = COMMANDS[name]
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name not in POSIX_MODULES:
                raise
            return _make_unavailable(name)
        return command


def _make_unavailable(name: str) -> click.Command:
    """Return a command that reports that it needs Linux."""

    def refuse() -> None:
        fail(UNAVAILABLE, f"`kvd {name}` needs Linux; the client, `from kvd import Client`, runs here too")

    any_arguments = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}
    return click.Command(
        name, callback=refuse, context_settings=any_arguments, help="It needs Linux.", add_help_option=False
    )


@click.group(commands=Commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="kvd")
def main() -> None:
    """Run kvd, a key-value daemon."""
