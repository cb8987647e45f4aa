"""The configuration file: defaults for the lasting options, and named profiles of them.

url = "tcp://127.0.0.1:7411"

[profiles.production]
url = "tcp://10.0.0.5:7411"
color = "red"
"""

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from kvsh.cli.params import Seconds

# What may stand in the file: the options that last, and the prompt's colour.
LASTING = ("url", "key", "server-key", "timeout", "format", "echo", "progress", "vi", "pager", "no-color")
COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "gray")
FILES = ("key", "server-key")
PARAMETERS = {"format": "form"}
NAMED = {bool: "true or false", str: "a text in quotes", int | float: "a number of seconds"}


def load(context: click.Context, path: str, name: str | None) -> str | None:
    """Make a file's settings the defaults of the options; return the profile's name. Raises UsageError."""
    text, settings = read(path)
    profiles = settings.pop("profiles", {})
    default = settings.pop("profile", None)
    if not isinstance(profiles, dict) or not all(isinstance(profile, dict) for profile in profiles.values()):
        raise click.UsageError(f"{path}: profiles are tables: [profiles.NAME]")
    wrong = [
        f"{path}:{line_of(text, key, within)}: {complaint}"
        for within, table in [(None, settings), *profiles.items()]
        for key, value in table.items()
        if (complaint := wrong_about(context, key, value))
    ]
    if wrong:
        raise click.UsageError("\n".join(wrong))
    name = name or default
    if name is not None and name not in profiles:
        known = ", ".join(profiles) or "none"
        raise click.UsageError(f"there is no profile {name!r} in {path}; it has: {known}")
    chosen = {**settings, **(profiles[name] if name else {})}
    context.obj = {"color": chosen.pop("color", None), "profile": options_of(path, profiles[name]) if name else {}}
    context.default_map = options_of(path, chosen)
    return name


def read(path: str) -> tuple[str, dict[str, Any]]:
    """Return a file's text and what it says. Raises UsageError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} is no TOML: {error}") from None


def wrong_about(context: click.Context, key: str, value: Any) -> str | None:
    """Return what is wrong with a setting, or None."""
    if key == "color":
        return None if value in COLORS else f"color is one of {', '.join(COLORS)}"
    if key not in LASTING:
        close = get_close_matches(key, [*LASTING, "color"], n=1)
        return f"there is no setting {key!r}" + (f": did you mean {close[0]!r}?" if close else "")
    option = next(each for each in context.command.params if each.name == parameter_of(key))
    kind = {click.types.BoolParamType: bool, Seconds: int | float}.get(type(option.type), str)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return f"{key} is {NAMED[kind]}"
    try:
        option.type_cast_value(context, value)
    except click.BadParameter as error:
        return f"{key}: {error.message}"
    return None


def line_of(text: str, key: str, profile: str | None) -> int:
    """Return the number of the line that sets a key, in a profile or before the first."""
    table: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*profiles\s*\.\s*[\"']?(.*?)[\"']?\s*\]", line):
            table = header[1]
        elif table == profile and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 1


def parameter_of(key: str) -> str:
    """Return the name of the option that a setting is."""
    return PARAMETERS.get(key, key.replace("-", "_"))


def options_of(path: str, table: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a table sets, by name."""
    return {parameter_of(key): located(path, key, value) for key, value in table.items()}


def located(path: str, key: str, value: Any) -> Any:
    """Return a value; a file is found from where the configuration is."""
    return str(Path(path).parent / Path(value).expanduser()) if key in FILES else value
