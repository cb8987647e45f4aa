"""PRETTY: JSON indented, texts in lines, binary values dumped; the styles of what is coloured."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvd.commands.expiry import Ttl
from kvd.commands.keys import EntryOf, Scan
from kvd.commands.values import Get, Incr, MultiGet
from kvsh.render import FORMATS
from kvsh.render.pretty import DUMPED_BYTES_MAX, STYLED_BYTES_MAX, indent_json, pretty, pretty_lines
from kvsh.render.terminal import terminal
from kvsh.ui.looks import paint_lines

GET = Get(b"k")
DUMP = """\
00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|
00000010  41 7c ff                                          |A|.|"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            b'{"a":[1,2.50],"b":{},"a":"x\\u0041"}',
            '{\n  "a": [\n    1,\n    2.50\n  ],\n  "b": {},\n  "a": "x\\u0041"\n}',
        ),
        (b" [12345678901234567890123]", "[\n  12345678901234567890123\n]"),
        ('{"a":"\u009b1m"}'.encode(), '{\n  "a": "\\u009b1m"\n}'),
        (b"[1,", '"[1,"'),
        (b"{not json}", '"{not json}"'),
        (b"true", '"true"'),
        (b"plain text", '"plain text"'),
        (b"one line\n", r'"one line\n"'),
        ("two\nlines, \u00e9".encode(), "two\nlines, \u00e9"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645".encode(),
            '"\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"',
        ),
        ('["\u0645\u06cc\u200c\u062e", "\u200c"]'.encode(), '[\n  "\u0645\u06cc\u200c\u062e",\n  "\\u200c"\n]'),
        (b"\xef\xbb\xbfone \x1b[1mline", r'"\xef\xbb\xbfone \x1b[1mline"'),
        (b"two\r\nlines\n\x1b[2J", "two\\x0d\nlines\n\\x1b[2J"),
        (b"", '""'),
        (bytes(range(16)) + b"A|\xff", DUMP),
        (b"a\0b", "00000000  61 00 62" + " " * 42 + "|a.b|"),
        (None, "(nil)"),
    ],
)
def test_a_value(value, expected):
    assert pretty(GET, value).decode() == expected + "\n"
    assert FORMATS["pretty"](GET, value) == pretty(GET, value)


def test_what_holds_values():
    values = [b'{"a":1}', None, b"x", b"\0"]
    dump = "00000000  00" + " " * 48 + "|.|"
    assert pretty(MultiGet([b"k"]), values).decode() == f'1) {{\n     "a": 1\n   }}\n2) (nil)\n3) "x"\n4) {dump}\n'
    entry = {"revision": 7, "expires": None, "value": b"[1]"}
    assert pretty(EntryOf(b"k"), entry) == b"revision  7\nexpires   (nil)\nvalue\n  [\n    1\n  ]\n"
    nested = {"io": {"keys": 1, "is": True}, "none": {}, "list": [1]}
    assert pretty(EntryOf(b"k"), nested) == terminal(EntryOf(b"k"), nested)


@pytest.mark.parametrize(
    ("command", "result"),
    [(Incr(b"k"), 3), (Ttl(b"k"), 1500), (Scan(values=True), [[[b"a", b"1", 3, None]], None]), (Scan(), [[], None])],
)
def test_all_else_is_as_in_terminal(command, result):
    assert pretty(command, result) == terminal(command, result)


def test_the_dump_of_a_large_value_is_bounded_and_says_so():
    lines = pretty(GET, b"\xff" * (DUMPED_BYTES_MAX + 1234)).splitlines()
    assert lines[-1] == b"... 1,234 more bytes: use the format raw"
    assert len(lines) == DUMPED_BYTES_MAX // 16 + 1


def test_a_large_json_value_is_indented_without_styles():
    value = json.dumps(["x" * 90] * (STYLED_BYTES_MAX // 90)).encode()
    (line,) = pretty_lines(GET, value)
    assert line == [("", indent_json(value))]


def test_a_deep_json_value_is_shown():
    assert pretty(GET, b"[" * 100_000 + b"]" * 100_000).startswith(b'"[[[')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def is_harmless(text):
    return all(each.isprintable() or each in "\n\t\u200c\u200d" for each in text)


@given(st.lists(JSON) | st.dictionaries(st.text(), JSON), st.booleans())
def test_json_stays_the_same_document(value, is_ascii):
    shown = pretty(GET, json.dumps(value, ensure_ascii=is_ascii).encode()).decode()
    assert json.loads(shown) == value
    assert is_harmless(shown)


@example(b"\n\t")
@given(st.binary())
def test_nothing_in_it_acts_on_a_terminal_but_the_colours_of_the_styles(value):
    lines = pretty_lines(GET, value)
    assert is_harmless("".join(text for line in lines for _, text in line))
    painted = paint_lines(lines)
    assert re.sub(rb"\x1b\[\d*m", b"", painted) == pretty(GET, value)


def test_the_colours():
    painted = paint_lines(pretty_lines(GET, b'{"a":["b",-1e3,null]}')).decode().splitlines()
    assert [line.strip() for line in painted] == [
        "{",
        '\x1b[34m"a"\x1b[0m: [',
        '\x1b[32m"b"\x1b[0m,',
        "\x1b[36m-1e3\x1b[0m,",
        "\x1b[35mnull\x1b[0m",
        "]",
        "}",
    ]
