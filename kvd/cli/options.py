"""The flags of `kvd serve`, made from the fields of `Config`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kvd.config import OPTIONS, Option

FOLDERS = ("data", "backups")  # the other paths are files


def with_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for each option. A flag that is not given is None, or empty if it may be repeated."""
    for option in reversed(OPTIONS.values()):
        command = click.option(
            option.flag,
            option.name,
            type=_type_of(option),
            multiple=option.is_many,
            help=f"{option.help}{_default_of(option)}",
        )(command)
    return command


def _type_of(option: Option) -> Any:
    """Return the click type of a flag's value."""
    if option.choices:
        return click.Choice(option.choices)
    if option.type in (Path, Path | None):
        return click.Path(path_type=Path, dir_okay=option.name in FOLDERS, file_okay=option.name not in FOLDERS)
    return int if option.type is int else str


def _default_of(option: Option) -> str:
    """Return the end of the help text: the default."""
    if option.default is None:
        return ""
    return f"  [default: {' '.join(option.default) if option.is_many else option.default}]"
