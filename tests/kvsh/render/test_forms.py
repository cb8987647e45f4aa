"""The text of results, errors, changes and help: whole texts, and the properties of each format."""

import csv as csv_module
import io
import json as json_module
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.commands import COMMANDS, syntax_of
from kvd.commands.atomic import Once, Transaction
from kvd.commands.expiry import Ttl
from kvd.commands.keys import EntryOf, Scan
from kvd.commands.model import Change
from kvd.commands.server import Commands, Info, Ping
from kvd.commands.values import Get, Incr, MultiGet, MultiSet, Set, Take
from kvsh.grammar.shell import Help
from kvsh.grammar.vocabulary import usage_lines
from kvsh.render import FORMATS, csv, json, raw, safe_pieces, terminal, terminal_pieces
from kvsh.render.changes import change_document, change_line
from kvsh.render.data import json_error
from kvsh.render.help import COLUMNS, help_on, help_page
from kvsh.ui.help import help_text
from kvsh.words import split

ENTRY = {"revision": 7, "created": 3, "expires": None, "size": 9}
ROWS = [[b"a", b"1", 3, None], [b"long key", b"22", 14, 1763700000000]]
TABLE = """\
1)    key         value  revision  expires
   1) "a"         "1"    3         (nil)
   2) "long key"  "22"   14        2025-11-21 04:40:00.000 UTC
2) (nil)"""
FULL = Transaction([], [Set(b"k", b"v"), Get(b"k"), Incr(b"n"), Take(b"x")])


@pytest.mark.parametrize(
    ("command", "result", "expected"),
    [
        (Set(b"k", b"v"), None, "OK"),
        (Set(b"k", b"v", previous=True), None, "(nil)"),
        (Set(b"k", b"v", previous=True), b"before", '"before"'),
        (MultiSet([(b"k", b"v")]), None, "OK"),
        (Once(b"12345678", Set(b"k", b"v")), None, "OK"),
        (Take(b"k"), None, "(nil)"),
        (Get(b"k"), None, "(nil)"),
        (Get(b"k"), b"", '""'),
        (Get(b"k"), "a\n\x1b[0m Ahmedābād".encode(), r'"a\n\x1b[0m Ahmedābād"'),
        (Incr(b"k"), 3, "(integer) 3"),
        (Ttl(b"k"), 59873, "59.873 s"),
        (Ttl(b"k"), -1, "(integer) -1"),
        (Ttl(b"k"), None, "(nil)"),
        (MultiGet([b"a", b"b"]), [b"1", None], '1) "1"\n2) (nil)'),
        (Scan(), [[], None], "1) (empty)\n2) (nil)"),
        (Scan(), [[b"a", b"b"], b"b"], '1) 1) "a"\n   2) "b"\n2) "b"'),
        (
            Scan(values=True),
            [ROWS, None],
            TABLE,
        ),
        (EntryOf(b"k"), ENTRY, "revision  7\ncreated   3\nexpires   (nil)\nsize      9"),
        (
            Info(),
            {"server": {"version": "0.1", "read_only": False}, "store": {}, "kinds": [1]},
            "server\n  version    0.1\n  read_only  false\nstore  (empty)\nkinds\n  1) (integer) 1",
        ),
        (Commands(), [{"name": "GET", "n": []}], "1) name  GET\n   n     (empty)"),
        (Info(), {}, "(empty)"),
        (Info(), {"\x1b[2J": "\x1b[2J"}, "\\x1b[2J  \\x1b[2J"),
        (FULL, [None, b"v", 1, None], '1) OK\n2) "v"\n3) (integer) 1\n4) (nil)'),
        (MultiGet([b"a"]), [b"x"] * 10, "\n".join(f'{n:>2}) "x"' for n in range(1, 11))),
        (Scan(), [[[]], [[b"a"], [b"b", b"c"]]], '1) 1) (empty)\n2) 1) 1) "a"\n   2) 1) "b"\n      2) "c"'),
    ],
)
def test_for_reading(command, result, expected):
    assert terminal(command, result).decode() == expected + "\n"


@pytest.mark.parametrize(
    ("command", "result", "in_raw", "in_json", "in_csv"),
    [
        (Set(b"k", b"v"), None, b"OK\n", b"null\n", b"OK\r\n"),
        (Get(b"k"), None, b"\n", b"null\n", b"\r\n"),
        (Get(b"k"), b"", b"\n", b'""\n', b'""\r\n'),
        (Get(b"k"), b'a "b",\n\x00', b'a "b",\n\x00\n', b'"a \\"b\\",\\n\\u0000"\n', b'"a ""b"",\n\x00"\r\n'),
        (Get(b"k"), b"\xff", b"\xff\n", b'{"base64":"/w=="}\n', b"\xff\r\n"),
        (Get(b"k"), b" a", b" a\n", b'" a"\n', b'" a"\r\n'),
        (
            Get(b"k"),
            "\x9b\U000e0001é".encode(),
            "\x9b\U000e0001é\n".encode(),
            '"\\u009b\\udb40\\udc01é"\n'.encode(),
            "\x9b\U000e0001é\r\n".encode(),
        ),
        (Ttl(b"k"), 1500, b"1500\n", b"1500\n", b"1500\r\n"),
        (MultiGet([b"a", b"b"]), [b"1", None], b"1\n\n", b'["1",null]\n', b"1,\r\n"),
        (
            Scan(values=True),
            [ROWS, None],
            b"a\n1\n3\n\nlong key\n22\n14\n1763700000000\n\n",
            b'[[["a","1",3,null],["long key","22",14,1763700000000]],null]\n',
            b"a,1,3,\r\nlong key,22,14,1763700000000\r\n\r\n",
        ),
        (
            EntryOf(b"k"),
            ENTRY,
            b"revision 7\ncreated 3\nexpires \nsize 9\n",
            b'{"revision":7,"created":3,"expires":null,"size":9}\n',
            b"revision,7\r\ncreated,3\r\nexpires,\r\nsize,9\r\n",
        ),
        (
            Info(),
            {"server": {"up": True, "at": ["x", "y"]}},
            b"server.up true\nserver.at x\nserver.at y\n",
            b'{"server":{"up":true,"at":["x","y"]}}\n',
            b"server,up,true,at,x,y\r\n",
        ),
        (FULL, [None, b"v", 1, None], b"OK\nv\n1\n\n", b'[null,"v",1,null]\n', b"OK,v,1,\r\n"),
        (Ping(), b"PONG", b"PONG\n", b'"PONG"\n', b"PONG\r\n"),
    ],
)
def test_for_programs(command, result, in_raw, in_json, in_csv):
    assert (raw(command, result), json(command, result), csv(command, result)) == (in_raw, in_json, in_csv)


def test_an_error_is_a_json_document_too():
    expected = {"error": {"code": "CONFLICT", "message": "the key\nexists", "outcome": "failed", "revision": 4}}
    assert json_module.loads(json_error("CONFLICT", "the key\nexists", "failed", revision=4)) == expected


@given(st.binary())
def test_what_a_terminal_shows_of_a_value_pastes_back(value):
    text = terminal(Get(b"k"), value)
    assert [word.value for word in split(text)] == [value]
    assert text[:-1].decode().isprintable()


@given(st.binary())
def test_json_gives_back_every_byte(value):
    found = json_module.loads(json(Get(b"k"), value))
    assert (b64decode(found["base64"]) if isinstance(found, dict) else found.encode()) == value


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_csv_gives_back_every_value(values):
    written = csv(MultiGet([b"a"]), [value.encode() for value in values]).decode()
    assert list(csv_module.reader(io.StringIO(written, newline=""))) == [values]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_ends_with_a_newline(form):
    assert FORMATS[form](Get(b"k"), b"v").endswith(b"\0" if form == "nul" else b"\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change("SET", 42, b"user:1", b"Ada\n", 0, None, 5), '    42  SET user:1 "Ada\\n"'),
        (Change("SET", 42, b"a b", b"", 7, 6500, 5000), '    42  SET "a b" "" (1.5 s to live)'),
        (Change("CLEAR", 1234567, b"k", None, 4, None, 5), "1234567  CLEAR k"),
        (Change("SET", 1, b"k", b"x" * 401, 0, None, 5), f'     1  SET k "{"x" * 400}"... (401 bytes)'),
    ],
)
def test_a_change_is_a_line(change, expected):
    assert change_line(change) == expected


def test_a_change_is_a_json_document_for_programs():
    expected = (
        b'{"kind":"SET","revision":2,"key":"k","value":{"base64":"/w=="},'
        b'"previous":1,"expires":null,"time":5,"history":"h"}\n'
    )
    assert change_document(Change("SET", 2, b"k", b"\xff", 1, None, 5), "h") == expected


def test_help_lists_every_command_by_family():
    syntaxes = list(map(syntax_of, COMMANDS.values()))
    text = help_page(syntaxes)
    assert all(f"  {syntax.name} " in text for syntax in syntaxes)
    assert text.startswith("values\n  GET          Return the value of a key, or nil.\n")


def test_what_help_lists_are_whole_sentences_that_fit():
    text = help_text(Help())
    assert "..." not in text
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert all(known.syntax.summary.endswith((".", ")")) for known in usage_lines().values())


def test_help_explains_transaction_by_how_it_is_typed():
    text = help_text(Help("transaction"))
    assert text.startswith("BEGIN [IF key revision...], then one command a line, then COMMIT\n")
    assert "\n    BEGIN IF city 7\n" in text
    atomic = help_text(Help()).partition("\natomic\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in atomic.splitlines()] == ["TRANSACTION", "ONCE"]


def test_help_on_one_tells_its_syntax_meaning_and_examples():
    expected = "INCR key [by]\n\n" + syntax_of(Incr).help + "\n\nexamples:\n    INCR visits\n    INCR visits -5\n"
    assert help_on(syntax_of(Incr)) == expected


VALUES = st.none() | st.integers() | st.booleans() | st.binary(max_size=9)


@given(VALUES | st.lists(VALUES | st.lists(VALUES), max_size=4) | st.dictionaries(st.text(max_size=5), VALUES))
def test_pieces_of_a_result_are_the_result(result):
    assert b"".join(terminal_pieces(Get(b"k"), result)) == terminal(Get(b"k"), result)


def test_the_beginning_of_a_long_result_needs_no_more_than_the_beginning():
    value = bytes(range(256)) * 65_536
    for command, result in [(Get(b"k"), value), (MultiGet([b"k"]), [value]), (EntryOf(b"k"), {"value": value})]:
        for form in ("terminal", "raw", "csv"):
            pieces = safe_pieces(form, command, result)
            head = next(pieces) + next(pieces) + next(pieces)
            assert 10 < len(head) < 1_000_000
            assert head.decode().isprintable() or form != "terminal"
