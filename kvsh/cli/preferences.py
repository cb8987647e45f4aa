"""Settings of the configuration file that are not options: those of the prompt."""

from collections.abc import Iterator, Mapping
from typing import Any

from kvsh.grammar.aliases import aliases_of, wrong_alias

COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "gray")
PREFERENCES = ("color", "confirm", "aliases", "startup")

Complaint = tuple[tuple[str, ...], str]


def wrong_preference(key: str, value: Any) -> Iterator[Complaint]:
    """Yield the problems with a setting: the keys that lead to the place within it, and a sentence."""
    if key == "color" and value not in COLORS:
        yield (), f"color is one of {', '.join(COLORS)}"
    elif key == "confirm" and not isinstance(value, bool):
        yield (), "confirm is true or false"
    elif key == "startup" and not _is_texts(value):
        yield (), 'startup is a list of commands in quotes: startup = ["FORMAT PRETTY"]'
    elif key == "aliases":
        yield from _wrong_aliases(value)


def _is_texts(value: Any) -> bool:
    """Return whether a value is a list of lines."""
    return isinstance(value, list) and all(isinstance(each, str) and "\n" not in each for each in value)


def _wrong_aliases(value: Any) -> Iterator[Complaint]:
    """Yield the problems with the table of aliases."""
    if not isinstance(value, dict):
        yield (), 'aliases are a table: [aliases], with lines such as users = "SCAN user:"'
        return
    for name, text in value.items():
        problem = wrong_alias(name, text) if isinstance(text, str) else "an alias is a text in quotes"
        if problem:
            yield (name,), problem


def preferences_in(top: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prompt's settings from a file and one of its profiles. The profile's aliases win."""
    chosen = {**top, **profile}
    pager = chosen.get("pager")
    aliases = {**top.get("aliases", {}), **profile.get("aliases", {})}
    return {
        "prompt_color": chosen.get("color"),
        "confirm": chosen.get("confirm", True),
        "aliases": aliases_of(aliases),
        "startup": tuple(chosen.get("startup", ())),
        "pager_command": pager if isinstance(pager, str) else None,
    }
