"""The configuration file: defaults for the lasting options, and named profiles of them.

url = "tcp://127.0.0.1:7411"

[profiles.production]
url = "tcp://10.0.0.5:7411"
color = "red"
"""

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from operator import eq
from pathlib import Path
from typing import Any, NamedTuple

import click

from kvd.client.endpoints import parse_endpoints
from kvsh.cli.options import Seconds
from kvsh.cli.preferences import PREFERENCES, Complaint, preferences_in, wrong_preference

# The settings of the file: lasting options, and preferences of the prompt.
LASTING = ("url", "key", "server-key", "timeout", "format", "echo", "progress", "vi", "pager", "no-color")
FILES = ("key", "server-key")
PARAMETERS = {"format": "form"}
SETTINGS = (*LASTING, *PREFERENCES)
TABLES = ("profile", "profiles")
EXAMPLE = 'url = "tcp://127.0.0.1:7411"'
HEADER = re.compile(r"\s*\[\[?(.*?)\]\]?\s*(?:#.*)?$")
NAME = re.compile(r"""("[^"]*"|'[^']*')|([A-Za-z0-9_-]++)""")
SETTING = re.compile(rf"\s*(?:{NAME.pattern}|\s*\.\s*)+(?=\s*=)")
NAMED = {bool: "true or false", str: "a text in quotes", int | float: "a number of seconds"}


class File(NamedTuple):
    """A configuration file: its path, its text, and its tables."""

    path: str
    text: str
    top: dict[str, Any]

    @property
    def profiles(self) -> dict[str, dict[str, Any]]:
        """Return the profiles by name, without values that are not tables."""
        tables = self.top.get("profiles")
        return (
            {name: each for name, each in tables.items() if isinstance(each, dict)} if isinstance(tables, dict) else {}
        )

    def where(self, *keys: str) -> str:
        """Return the place of a setting as `path:line`."""
        return f"{self.path}:{_line_of(self.text, keys)}"


def load(context: click.Context, path: str, name: str | None) -> str | None:
    """Make a file's settings the defaults of the options; return the profile's name. Raises UsageError."""
    file = read(path)
    if problems := [*_wrong_tables(file), *_wrong_settings(context, file)]:
        raise click.UsageError("\n".join(problems))
    name = name or file.top.get("profile")
    if name is not None and name not in file.profiles:
        raise click.UsageError(f"{file.where('profile')}: {_no_profile(name, list(file.profiles))}")
    profile = file.profiles[name] if name else {}
    top = {key: value for key, value in file.top.items() if key not in TABLES}
    chosen = {key: value for key, value in {**top, **profile}.items() if key not in PREFERENCES}
    places = {key: file.where(*(("profiles", str(name), key) if key in profile else (key,))) for key in chosen}
    context.obj = {
        "preferences": preferences_in(top, profile),
        "profile": _options_of(path, profile),
        "places": {_parameter_of(key): place for key, place in places.items()},
    }
    context.default_map = _options_of(path, chosen)
    return name


def read(path: str) -> File:
    """Return a file. Raises UsageError."""
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-8-sig")
        return File(path, text, tomllib.loads(text))
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise click.UsageError(f"{path}:{line}: this is not UTF-8: save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"at line (\d+)", str(error))
        line = int(match[1]) if match else text.count("\n") + 1
        raise click.UsageError(f"{path}:{line}: this is not TOML: {error}; a text needs quotes: {EXAMPLE}") from None
    except RecursionError:
        raise click.UsageError(f"{path}: brackets are nested too deeply; a line looks like {EXAMPLE}") from None


def _wrong_tables(file: File) -> Iterator[str]:
    """Yield the problems with the tables and with the name of the default profile."""
    default, profiles = file.top.get("profile", ""), file.top.get("profiles", {})
    if isinstance(default, dict):
        name = next(iter(default), "NAME")
        yield f"{file.where('profile')}: a profile is a table [profiles.{name}], with an s"
    elif not isinstance(default, str):
        yield f'{file.where("profile")}: profile is the name of one profile in quotes: profile = "test"'
    if not isinstance(profiles, dict):
        yield f"{file.where('profiles')}: profiles are tables: [profiles.NAME]"
        return
    for name in profiles.keys() - file.profiles.keys():
        yield f"{file.where('profiles', name)}: profiles are tables: [profiles.{name}]"


def _wrong_settings(context: click.Context, file: File) -> Iterator[str]:
    """Yield the problems with the settings, including those of the profiles."""
    top = {key: value for key, value in file.top.items() if key not in TABLES}
    tables = [((), top), *[(("profiles", name), each) for name, each in file.profiles.items()]]
    for within, table in tables:
        for key, value in table.items():
            for inner, complaint in _wrong_about(context, key, value):
                yield f"{file.where(*within, key, *inner)}: {complaint}"


def _no_profile(name: str, names: Sequence[str]) -> str:
    """Return the sentence about a profile that does not exist."""
    close = get_close_matches(name, names, n=1)
    suggestion = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names) or 'none'}"
    return f"there is no profile {name!r} in this file: {suggestion}"


def _wrong_about(context: click.Context, key: str, value: Any) -> Iterator[Complaint]:
    """Yield the problems with a setting: the keys that lead to the place within it, and a sentence."""
    if key in PREFERENCES:
        yield from wrong_preference(key, value)
    elif complaint := _wrong_option(context, key, value) if key in LASTING else _no_setting(key):
        yield (), complaint


def _no_setting(key: str) -> str:
    """Return the sentence about a setting that does not exist."""
    close = get_close_matches(key, SETTINGS, n=1)
    suggestion = f"did you mean {close[0]!r}?" if close else f"the settings are {', '.join(SETTINGS)}"
    return f"there is no setting {key!r}: {suggestion}"


def _wrong_option(context: click.Context, key: str, value: Any) -> str | None:
    """Return the problem with a setting that is an option, or None."""
    if key == "pager" and isinstance(value, str):
        return None if "\0" not in value else "pager is a command line"
    option = next(each for each in context.command.params if each.name == _parameter_of(key))
    kind = {click.types.BoolParamType: bool, Seconds: int | float}.get(type(option.type), str)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return f"{key} is {NAMED[kind]}" + (", or a command line in quotes" if key == "pager" else "")
    if key in FILES and (not value or "\0" in str(value)):
        return f"{key} is the name of a file"
    return _wrong_value(context, option, key, value)


def _wrong_value(context: click.Context, option: click.Parameter, key: str, value: Any) -> str | None:
    """Return the problem with the value of a setting of the right type, or None."""
    try:
        option.type_cast_value(context, value)
        if key == "url":
            parse_endpoints(value)
    except click.BadParameter as error:
        return f"{key}: {error.message}"
    except ValueError as error:
        return f"{key}: {error}"
    return None


def _line_of(text: str, keys: Sequence[str]) -> int:
    """Return the number of the line that sets a key or names a table."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            table = _names_in(header[1])
            is_match = table[: len(keys)] == tuple(keys)
        else:
            setting = SETTING.match(line)
            path = (*table, *_names_in(setting[0])) if setting else ()
            is_match = bool(path) and all(map(eq, path, keys))
        if is_match:
            return number
    return 1


def _names_in(text: str) -> tuple[str, ...]:
    """Return the names of a dotted key."""
    return tuple(bare or quoted[1:-1] for quoted, bare in NAME.findall(text))


def _parameter_of(key: str) -> str:
    """Return the parameter's name for a setting."""
    return PARAMETERS.get(key, key.replace("-", "_"))


def _options_of(path: str, table: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a table sets, by parameter. A pager's command line means that there is a pager."""
    return {
        _parameter_of(key): _locate(path, key, value) if key != "pager" else bool(value)
        for key, value in table.items()
        if key not in PREFERENCES
    }


def _locate(path: str, key: str, value: Any) -> Any:
    """Return a value. A relative file is relative to the configuration file."""
    return str(Path(path).parent / os.path.expanduser(value)) if key in FILES else value  # noqa: PTH111  # it never raises
