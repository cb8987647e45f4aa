"""The mode of operation that a command line asks for ("way"), and the options of each.

An option on the command line has an effect, or it is refused: it is never ignored. A setting of the environment or of
the configuration file is a default for all runs, so it applies only where it has a meaning.
"""

import os
from collections.abc import Collection, Sequence
from typing import Any

import click
from click.core import ParameterSource

from kvsh.ui.settings import POOR_TERMINALS

MODES = ("scan", "stat", "latency", "bench", "bigkeys")
COMMAND, SCRIPT, PROMPT, PLAIN, COMPLETION = "a command", "a script", "the prompt", "the plain prompt", "--completion"
# The ways in which an option has an effect. Other options apply to every way that uses a daemon.
BELONGS: dict[str, tuple[str, ...]] = {
    "no_newline": (COMMAND,),
    "last_from_stdin": (COMMAND,),
    "hook": (COMMAND,),
    "repeat": (COMMAND, "--stat", "--latency"),
    "interval": (COMMAND, "--stat", "--latency", "--bench"),
    "quiet": (COMMAND, SCRIPT, *[f"--{mode}" for mode in MODES]),
    "stop_on_error": (SCRIPT,),
    "file": (SCRIPT,),
    "echo": (SCRIPT,),
    "dry_run": (COMMAND, SCRIPT),
    "progress": (SCRIPT, "--scan", "--latency", "--bench", "--bigkeys"),
    "pager": (COMMAND, PROMPT),
    "vi": (PROMPT,),
}
# They switch off features that most ways do not have.
HOLDS_ANYWAY = (("progress", False), ("pager", False), ("no_color", True))
# Only lists have this format: the figures of the other modes have no newlines.
NUL = ("shortcut", "nul")
LISTS = (COMMAND, SCRIPT, PROMPT, PLAIN, "--scan")
EXCLUDE = (
    ("hook", "shortcut"),
    ("hook", "form"),
    ("local", "url"),
    ("local", "key"),
    ("local", "server_key"),
    ("dry_run", "repeat"),
    ("dry_run", "interval"),
)


def choose(words: Sequence[str], options: dict[str, Any]) -> str:
    """Return the way. Raises UsageError when two are asked for."""
    asked = [f"--{mode}" for mode in MODES if options[mode] not in (None, False)]
    asked += ["-f"] * (options["file"] is not None) + [COMMAND] * bool(words)
    asked += [COMPLETION] * (options["completion"] is not None)
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} exclude each other")
    if asked and asked != ["-f"]:
        return asked[0]
    if asked or not os.isatty(0):
        return SCRIPT
    return PLAIN if os.environ.get("TERM", "") in POOR_TERMINALS or not os.isatty(1) else PROMPT


def flag_names(context: click.Context) -> set[str]:
    """Return the names of the options on the command line."""
    return {
        str(each.name)
        for each in context.command.params
        if isinstance(each, click.Option)
        and context.get_parameter_source(str(each.name)) is ParameterSource.COMMANDLINE
    }


def check(context: click.Context, way: str, given: Collection[str], options: dict[str, Any]) -> None:
    """Raise UsageError for an option on the command line that would have no effect."""
    for name in sorted(given):
        if (name, options[name]) == NUL and way not in LISTS:
            raise click.UsageError(f"-0 belongs to a list: a command, a script or --scan, and this is {way}")
        if not _is_effective(way, name, options[name]):
            belongs = f"belongs to {_one_of(BELONGS[name])}" if name in BELONGS else "has no effect here"
            raise click.UsageError(f"{flag(context, name)} {belongs}, and this is {way}")
    for one, other in EXCLUDE:
        if one in given and other in given:
            raise click.UsageError(f"{flag(context, one)} and {flag(context, other)} exclude each other")
    if way == COMMAND and "interval" in given and "repeat" not in given:
        raise click.UsageError("-i is the time between the runs of a command: it needs -r N")


def _is_effective(way: str, name: str, value: Any) -> bool:
    """Return whether an option has an effect at a way, or only asks for the way's normal behaviour."""
    if (name, value) in HOLDS_ANYWAY or way == f"--{name}":
        return True
    return way != COMPLETION and way in BELONGS.get(name, (way,))


def _one_of(names: Sequence[str]) -> str:
    """Return `a`, `a or b`, `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def flag(context: click.Context, name: str) -> str:
    """Return an option as it is typed."""
    if name == "shortcut":
        return "-0, --raw, --json and the like"
    return next(each for each in context.command.params if each.name == name).opts[0]
