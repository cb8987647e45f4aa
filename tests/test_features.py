"""The features of the wire: code, documents and INFO have the same table."""

import re
from pathlib import Path

from support.mdoc import MAN, literals, section

from kvd.commands import COMMANDS
from kvd.features import FEATURES, FIRST_RELEASE

ROOT = Path(__file__).parents[1]


def list_added_arguments():
    """Return each argument that was added to a command."""
    return {
        f"{name}.{field}"
        for name, command in COMMANDS.items()
        if command.added
        for field in command.__struct_fields__[-command.added :]
    }


def test_each_command_and_argument_that_was_added_is_a_feature():
    named = {name for name in FEATURES if name[0].isupper()}
    assert named == list_added_arguments() | ({*COMMANDS} - {*FIRST_RELEASE.split()}), "run: make generate"


def test_the_document_has_each_feature_with_its_release():
    text = (ROOT / "docs/protocol.md").read_text()
    table = text.partition("### Wire 1, additions by release\n")[2].partition("\n###")[0]
    rows = re.findall(r"^\| ([\d.]+) \| (.*?) \| (.+) \|$", table, re.MULTILINE)
    told = [(name, release) for release, names, _ in rows for name in re.findall(r"`(.+?)`", names)]
    assert told == list(FEATURES.items())


def test_the_manual_has_each_feature_with_its_release():
    [table] = literals(section(MAN / "kvd-protocol.7", "WIRE 1, ADDITIONS BY RELEASE"))
    rows = re.findall(r"^([\d.]+)  ((?:\S+ )*\S+)(?:  .*)?$", table, re.MULTILINE)
    assert [(name, release) for release, names in rows for name in names.split()] == list(FEATURES.items())


def test_info_lists_the_features(kv):
    assert kv.info("server")["server"]["features"] == list(FEATURES)
