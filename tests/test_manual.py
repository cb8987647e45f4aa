"""The manual: mandoc finds nothing wrong with it, and what it names exists, and the other way round."""

import re
import shutil
import subprocess
from itertools import pairwise

import click
import pytest
from support.mdoc import MAN, literals, named, section

import kvsh.ui.outcome
from kvd.commands.changes import Changes
from kvd.commands.expiry import Ttl
from kvd.commands.keys import Count, EntryOf
from kvd.commands.model import Change
from kvd.commands.values import Get, MultiGet, Set
from kvsh.cli.app import command
from kvsh.cli.preferences import COLORS
from kvsh.cli.profile import SETTINGS
from kvsh.grammar.shell import SHELL_WORDS
from kvsh.grammar.vocabulary import vocabulary
from kvsh.modes import bench, latency, stat
from kvsh.render import FORMATS
from kvsh.render.changes import change_document

PAGES = sorted(MAN.glob("*.[1578]"))
KVSH = MAN / "kvsh.1"
SIGPIPE_EXIT = 141  # a shell's word for it: no code of ours
PAGER = "KVSH_PAGER"  # a program, and no option


def options():
    return [each for each in command.params if isinstance(each, click.Option)]


def settings_of_environment():
    lasting = [each for each in options() if each.allow_from_autoenv]
    return {each.envvar or f"KVSH_{each.name.upper()}" for each in lasting} | {PAGER}


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(page):
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout + done.stderr == ""


def test_each_option_of_kvsh_is_told_and_no_other():
    known = {name for each in options() for name in [*each.opts, *each.secondary_opts]} | {"-h", "--help"}
    source = KVSH.read_text(encoding="utf-8")
    items = "\n".join(re.findall(r"^\.It Fl.*", source, re.MULTILINE))
    assert flags(items) == known
    assert flags(source) == known


def flags(source):
    return {f"--{name}" for name in named("Fl Fl", source)} | {f"-{name}" for name in named("Fl", source)}


def test_each_default_of_kvsh_is_told():
    items = re.split(r"^\.It ", KVSH.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for option in options():
        if isinstance(option.default, str | float) and not isinstance(option.default, bool):
            default = option.default if isinstance(option.default, str) else f"{option.default:g}"
            [item] = [item for item in items if item.startswith(f"Fl Fl {option.opts[0].removeprefix('--')} ")]
            assert default in item


def test_each_variable_of_kvsh_is_told_and_no_other():
    source = KVSH.read_text(encoding="utf-8")
    assert set(re.findall(r"\bKVSH_[A-Z_]+", source)) == settings_of_environment()
    used = {
        name
        for file in (KVSH.parent.parent / "kvsh").rglob("*.py")
        for name in re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', file.read_text(encoding="utf-8"))
    }
    assert used - {"COMP_TYPE", "_KVSH_COMPLETE"} <= named("Ev", source)


def test_each_exit_code_of_kvsh_is_told_and_no_other():
    told = {int(code) for code in re.findall(r"^\.It (\d+)$", section(KVSH, "EXIT STATUS"), re.MULTILINE)}
    constants = {value for name, value in vars(kvsh.ui.outcome).items() if name.isupper() and type(value) is int}
    assert told == constants | {SIGPIPE_EXIT}


def test_each_word_of_the_shell_is_told_and_no_command_that_does_not_exist():
    told = named("Ic", KVSH.read_text(encoding="utf-8"))
    assert {word.command_name() for word in SHELL_WORDS} <= told
    keywords = {
        option.word for known in vocabulary().values() for each in known.syntax.parameters for option in each.options
    }
    assert told <= {name.decode() for name in vocabulary()} | keywords


def test_each_setting_of_the_file_and_each_colour_is_told_and_no_other():
    told = named("Li", section(KVSH, "FILES"))
    assert told == {*SETTINGS, *COLORS, "profile", "[profiles.NAME]", "[aliases]"}


def test_the_figures_of_the_modes_are_told():
    told = named("Li", section(KVSH, "OUTPUT"))
    assert {name for name, _, _ in stat.COLUMNS} | set(bench.NAMES) <= told
    modes = KVSH.read_text(encoding="utf-8").split(".Ss Modes")[1].split(".Ss")[0]
    numbers = [latency.INTERVAL_S, latency.COUNT_DEFAULT, bench.CONNECTIONS, bench.SECONDS]
    assert re.findall(r"\b[0-9.]*[0-9]\b", modes) == [f"{number:g}" for number in numbers]


TABLED = ("terminal", "raw", "json", "csv")  # the others are described by their differences
RESULTS = {
    "value": (Get(b"k"), b"a b"),
    "empty value": (Get(b"k"), b""),
    "integer": (Count(), 3),
    "time to live": (Ttl(b"k"), 1500),
    "nil": (Get(b"k"), None),
    "done": (Set(b"k", b"v"), None),
    "list": (MultiGet([b"a", b"b"]), [b"a", None]),
    "empty list": (MultiGet([b"a"]), []),
    "rows": (Changes(0), [[b"a", 1]]),
    "map": (EntryOf(b"k"), {"keys": 1}),
    "map in a map": (EntryOf(b"k"), {"io": {"keys": 1}}),
}


def test_the_forms_of_each_kind_of_result_are_as_told():
    head, *rows = literals(section(KVSH, "OUTPUT"))[0].splitlines()
    starts = [0, *(head.index(form) for form in TABLED), None]
    cells = [[row[start:end].strip() for start, end in pairwise(starts)] for row in rows]
    assert {name: told for name, *told in cells} == {
        name: [format_output(FORMATS[form](*result)) for form in TABLED] for name, result in RESULTS.items()
    }


def format_output(data):
    """Return an output on one line, as the page shows it."""
    return data.decode().replace("\r\n", "\n").removesuffix("\n").replace("\n", " / ").rstrip()


def test_the_fields_of_a_change_are_told():
    change = change_document(Change("SET", 1, b"k", b"v", 0, None, 0), "h").decode()
    told = named("Li", section(KVSH, "OUTPUT"))
    assert set(re.findall(r'"(\w+)":', change)) <= told
