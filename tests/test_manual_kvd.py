"""kvd(8) and kvd.toml(5): flags, exit status, options; and each limit that a page quotes is that of kvd/limits.py."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import click
import msgspec
import pytest
from msgspec import Meta
from support.mdoc import MAN, literals, named, section, unescape

from kvd import limits
from kvd.cli import exits, main
from kvd.cli.keygen import EXISTS
from kvd.cli.offline import DAMAGED
from kvd.commands import COMMANDS, syntax_of
from kvd.config import Config
from kvd.errors import StartError
from kvd.limits import KIB, MIB

KVD = MAN / "kvd.8"
TOML = MAN / "kvd.toml.5"
COMMANDS_PAGE = MAN / "kvd-commands.7"  # made of the code
PAGES = sorted(MAN.glob("kvd*.[1578]"))

# The pages describe what others are writing now. Empty these when that is merged: page and code are equal then.


# The page of the commands


def entries_of_commands():
    """Return the text on each command of kvd."""
    parts = re.split(r"^\.Ss kvd (\S+)\n", section(KVD, "DESCRIPTION"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def flags_of(command):
    shown = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    return {name for each in shown for name in [*each.opts, *each.secondary_opts]}


def flags_told(source):
    items = "\n".join(re.findall(r"^\.It Fl.*", source, re.MULTILINE))
    return {f"--{name}" for name in named("Fl Fl", items)}


def test_each_command_of_kvd_is_told_and_no_other():
    told = set(entries_of_commands())
    assert set(main.commands) == told
    assert named("Cm", section(KVD, "SYNOPSIS")) - {"jsonl", "csv", "|"} == told


@pytest.mark.parametrize("name", sorted(main.commands))
def test_each_flag_of_a_command_is_told_and_no_other(name):
    told = flags_told(entries_of_commands()[name])
    known = flags_of(main.commands[name])
    assert known == told


def test_no_flag_is_named_that_does_not_exist():
    known = {flag for command in main.commands.values() for flag in flags_of(command)}
    told = {flag for entry in entries_of_commands().values() for flag in flags_told(entry)}
    for page in (KVD, TOML):
        named_here = {f"--{name}" for name in named("Fl Fl", page.read_text(encoding="utf-8"))}
        assert named_here <= known | told | {"--version", "--help"}
    for typed in re.findall(r"\bkvd (serve|check|backup|restore|keygen|export|import|metrics)\b([^|&\n]*)", all_text()):
        assert set(re.findall(r"--[a-z-]+", typed[1])) <= flags_told(entries_of_commands()[typed[0]])


def all_text():
    return "\n".join(unescape(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_each_choice_of_a_flag_is_told(name):
    for option in main.commands[name].params:
        if isinstance(option, click.Option) and isinstance(option.type, click.Choice):
            told = re.search(rf"Fl Fl {option.opts[0][2:]} Cm (\w+(?: \| \w+)*)", entries_of_commands()[name])
            assert told[1].split(" | ") == list(option.type.choices)


def test_each_exit_code_is_told_and_no_other():
    told = {int(code) for code in re.findall(r"^\.It (\d+)$", section(KVD, "EXIT STATUS"), re.MULTILINE)}
    known = {0, 2, DAMAGED, EXISTS, *(error.exit_code for error in StartError.__subclasses__()), *codes_of_transfer()}
    assert known == told


def codes_of_transfer():
    """Return the exit codes of `kvd export` and `kvd import`."""
    return {exits.DATA_ERROR, exits.NO_INPUT, exits.CANNOT_CREATE, *(code for _, code in exits.EXIT_CODES)}


# The page of the options


def items():
    """Return the entry of each option."""
    parts = re.split(r"^\.It Li (\w+) No = Ar .*\n", section(TOML, "OPTIONS"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


FIELDS = {field.name: field for field in msgspec.structs.fields(Config)}


def test_each_option_is_told_and_no_other():
    assert set(FIELDS) == set(items())


@pytest.mark.parametrize("name", items())
def test_an_option_has_a_flag_a_variable_and_a_way_to_change_it(name):
    assert f"Flag\n.Fl Fl {name.replace('_', '-')} ,\nvariable\n.Ev KVD_{name.upper()} ;\n" in items()[name]
    how = "SIGHUP changes it." if is_reloaded(name) else "a restart changes it."
    assert items()[name].rstrip().removesuffix("\n.El").splitlines()[-1] == how


def is_reloaded(name):
    """Return whether SIGHUP changes an option: its field says so, or it is awaited."""
    metas = [said for said in get_args(FIELDS[name].type) if isinstance(said, Meta)] if name in FIELDS else []
    return bool((metas[0].extra or {}).get("reload"))


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_the_default_of_an_option_is_told(name):
    default = FIELDS[name].default
    told = re.search(r"^The default is(?: (none)|\n\.Li (.*) \.$)", items()[name], re.MULTILINE)
    if default is None:
        assert told[1]
    else:
        value = tomllib.loads(f"it = {unescape(told[2])}")["it"]
        default = str(default) if isinstance(default, Path) else default
        assert (tuple(value) if isinstance(value, list) else value) == default


def test_the_example_is_a_configuration():
    example = tomllib.loads(literals(section(TOML, "EXAMPLES"))[0])
    assert set(example) <= set(items())
    known = {name: value for name, value in example.items() if name in FIELDS}
    known.setdefault("data", "data")
    assert list(msgspec.convert(known, Config, dec_hook=lambda kind, value: kind(value)).mistakes()) == []


def values_of(name):
    """Return the values that an option can have, if they are few."""
    hint = FIELDS[name].type
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return set(get_args(hint)) if get_origin(hint) is Literal else set()


@pytest.mark.parametrize("name", [name for name in FIELDS if values_of(name)])
def test_the_values_of_an_option_are_told(name):
    assert values_of(name) <= named("Li", items()[name])


# The limits in the pages: on the line after a number with a unit or a comma, a comment has the limit's name.

QUOTED = re.compile(r"(?<![\w.,])(?:[0-9]+(?:,[0-9]{3})+|[0-9]+ (?:[KMG]iB|bytes|ms|s|minutes)\b)")
NOTE = re.compile(r'\.\\" ((?:[A-Z_]+_(?:MAX|BYTES|MS|DEFAULT|CHANGES) ?)+)$')


def forms(name):
    """Return how a limit may be written."""
    value = getattr(limits, name)
    if "BYTES" in name:
        units = {"GiB": 1024 * MIB, "MiB": MIB, "KiB": KIB}
        found = [f"{value // size} {unit}" for unit, size in units.items() if value % size == 0]
        return {f"{value:,}", f"{value} bytes", f"{value}", *found}
    if name.endswith("_MS") or "_MS_" in name:
        return {f"{value:,} ms", f"{value / 1000:g} s", f"{value / 60_000:g} minutes", "each second"}
    return {f"{value:,}", f"{value}", "eight"}


def list_quotes():
    """Yield each line of text that quotes a limit, with the names that the comment after it gives."""
    for page in sorted(set(PAGES) - {COMMANDS_PAGE}):
        is_literal = False
        lines = page.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            is_literal = line.startswith(".Bd") or (is_literal and not line.startswith(".Ed"))
            note = NOTE.fullmatch(lines[number + 1]) if number + 1 < len(lines) else None
            if not is_literal and not line.startswith(r".\"") and (note or QUOTED.search(line)):
                yield f"{page.name}:{number + 1}", line, note[1].split() if note else []


@pytest.mark.parametrize(("place", "line", "names"), list(list_quotes()), ids=lambda value: str(value)[:40])
def test_a_limit_in_a_page_is_that_of_the_code(place, line, names):
    for name in names:
        assert any(form in line for form in forms(name)), f"{place}: {name} is {sorted(forms(name))}"
    told = {form for name in names for form in forms(name)}
    for quoted in QUOTED.findall(line):
        assert quoted in told, f"{place}: which limit is {quoted!r}? Name it in a comment on the next line"


def test_the_limits_of_once_in_its_help_are_those_of_the_code():
    told = syntax_of(COMMANDS["ONCE"]).help
    assert f"8 to {limits.TOKEN_BYTES_MAX} bytes" in told
    assert "two minutes" in told
    assert limits.ONCE_KEPT_MS == 2 * 60_000
