"""The options of kvsh: their types, and the settings of a run that they and the profile make.

The other modules of this package import this one, and it imports none of them.
"""

import math
import os
from collections.abc import Collection, Iterable
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from kvd.client.endpoints import parse_endpoints
from kvsh.ui.settings import Settings
from kvsh.words import Word

SECONDS_MAX = 86_400
FORMS = ("terminal", "pretty", "raw", "json", "csv", "nul")
NO_ENV: dict[str, Any] = {"allow_from_autoenv": False}  # options of a single run
# Options that may also follow the command, where no argument fits: the parameter's name and its value.
TRAILING: dict[str, tuple[str, Any]] = {
    "-n": ("no_newline", True),
    "-q": ("quiet", True),
    "-0": ("shortcut", "nul"),
    **{f"--{form}": ("shortcut", form) for form in FORMS},
}
EXEC = "--exec"  # at the end of WATCH, followed by its command line


class Seconds(click.FloatRange):
    """A time in seconds, at most a day."""

    name = "seconds"

    def __init__(self, min: float) -> None:  # noqa: A002  # the name is click's
        super().__init__(min=min, max=SECONDS_MAX)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; nan is not one."""
        try:
            number = float(value)
        except (ValueError, OverflowError):  # OverflowError: an integer may have 400 digits
            number = math.nan
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return super().convert(number, param, ctx)


def config_path() -> str:
    """Return the path of the configuration file, which may not exist."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111  # to avoid loading pathlib
    return os.path.join(home, "kvsh", "config.toml")  # noqa: PTH118


def as_words(texts: Iterable[str]) -> list[Word]:
    """Return arguments as words, byte for byte."""
    return [Word(os.fsencode(text)) for text in texts]


def one_daemon(context: click.Context, options: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return the options with only one place for the daemon: a flag first, then `--local`.

    Raises UsageError for the keys of a daemon that `--local` starts: it has none.
    """
    options = {**options, **_profile_options(context, given)}
    if options["local"] is None:
        return options
    is_profiled = "profile" in given and context.get_parameter_source("url") is ParameterSource.DEFAULT_MAP
    if "local" not in given and ("url" in given or is_profiled):
        return {**options, "local": None}
    if "key" in given or "server_key" in given:
        raise click.UsageError("--key is for the daemon at --url, and KVSH_LOCAL starts one that has no keys")
    return {**options, "key": None, "server_key": None}


def _profile_options(context: click.Context, given: Collection[str]) -> dict[str, Any]:
    """Return the options of the profile that `--profile` names: they override the environment."""
    chosen = {}
    for each in context.command.params if "profile" in given else ():
        name = str(each.name)
        is_overridden = context.get_parameter_source(name) is ParameterSource.ENVIRONMENT
        if is_overridden and name in context.obj["profile"]:
            chosen[name] = each.type_cast_value(context, context.obj["profile"][name])
            context.set_parameter_source(name, ParameterSource.DEFAULT_MAP)
    return chosen


def _preferences_of(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the preferences of the prompt. The profile's name, colour and questions do not apply to another daemon."""
    preferences: dict[str, Any] = (context.obj or {}).get("preferences", {})
    source = context.get_parameter_source("url")
    if options["local"] is not None or source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
        return {**preferences, "profile": None, "prompt_color": None, "confirm": True}
    return preferences


def settings_of(context: click.Context, options: dict[str, Any]) -> Settings:
    """Return the settings of this run. Raises UsageError."""
    _check_url(context, options)
    keys = _keys_of(context, options)
    default = "terminal" if os.isatty(1) else "raw"
    named = set(Settings._fields) & set(options)
    return Settings(
        **{
            **{name: options[name] for name in named},
            "form": options["shortcut"] or options["form"] or default,
            "color": not (options["no_color"] or os.environ.get("NO_COLOR")),
            "keys": keys,
            **_preferences_of(context, options),
        }
    )


def _check_url(context: click.Context, options: dict[str, Any]) -> None:
    """Raise ValueError, with the place of the setting, for an invalid URL."""
    try:
        if options["local"] is None:
            parse_endpoints(options["url"])
    except ValueError as error:
        raise ValueError(f"{error} ({origin(context, 'url')})") from None


def _keys_of(context: click.Context, options: dict[str, Any]) -> Any:
    """Return the CURVE keys that the options name, or None. Raises UsageError."""
    own, server = options["key"], options["server_key"]
    if own is None and server is None:
        return None
    if own is None or server is None:
        raise click.UsageError(
            _explain_lone_key(context, *(("key", "server-key") if server is None else ("server-key", "key")))
        )
    try:
        return import_module("kvd.client.keys").read_keys(own, server)
    except ValueError as error:
        name = "key" if own in str(error) else "server-key"
        raise click.UsageError(f"{error} ({origin(context, name)})") from None


def _explain_lone_key(context: click.Context, given: str, other: str) -> str:
    """Return the sentence about one key without the other."""
    meaning = "key is the client's certificate, server-key the daemon's"
    match context.get_parameter_source(given.replace("-", "_")):
        case ParameterSource.ENVIRONMENT:
            return f"{variable(given)} needs {variable(other)} too: {meaning}"
        case ParameterSource.DEFAULT_MAP:
            return f"{origin(context, given)} needs {other} too: {meaning}"
        case _:
            return f"--{given} needs --{other} too: {meaning}"


def origin(context: click.Context, name: str) -> str:
    """Return where an option was set: `--key`, `KVSH_KEY`, or `config.toml:3: key`."""
    parameter = name.replace("-", "_")
    source = context.get_parameter_source(parameter)
    if source is ParameterSource.ENVIRONMENT:
        return variable(name)
    if source is ParameterSource.DEFAULT_MAP:
        return f"{context.obj['places'][parameter]}: {name}"
    return f"--{name}"


def variable(name: str) -> str:
    """Return the environment variable that sets an option."""
    return f"KVSH_{name.replace('-', '_').upper()}"


def name_variable(error: click.BadParameter) -> None:
    """Let an error about a value from the environment name the variable. click names the option."""
    context, parameter = error.ctx, error.param
    if context is not None and parameter is not None:
        name = str(parameter.name)
        if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
            error.param_hint = parameter.envvar if isinstance(parameter.envvar, str) else variable(name)
