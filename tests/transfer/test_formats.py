"""The lines of export and import: what is written is read again, and junk is nothing but malformed."""

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvd.limits import KEY_BYTES_MAX, TIME_MS_MAX, VALUE_BYTES_MAX
from kvd.transfer import lines as lines_module
from kvd.transfer.formats import FORMATS, Malformed, guess_format
from kvd.transfer.lines import BadLine, Lines, parse_records

TEXTS = st.text(st.sampled_from('aé\u2028😀",\r\n\0 \ufeff\\{')).map(str.encode)
DATA = st.binary(max_size=40) | TEXTS
ENTRIES = st.lists(
    st.tuples((DATA.filter(len)), DATA, st.none() | st.integers(1, TIME_MS_MAX)),
    max_size=8,
)
FORMS = pytest.mark.parametrize("name", FORMATS)


def read_in(data, size):
    """Return the lines of bytes that come in parts of a size."""
    parts = iter([data[at : at + size] for at in range(0, len(data), size)])
    return Lines(lambda _: next(parts, b""))


def text_of(name, entries):
    form = FORMATS[name]
    return form.header + b"\r\n" * bool(form.header) + form.encode([(k, v, 7, e) for k, v, e in entries])


def entries_in(name, data, skip=0, size=5):
    return [record.entry for record in parse_records(read_in(data, size), FORMATS[name], skip)]


@FORMS
@given(ENTRIES, st.integers(1, 30))
@example([(b'"', b'\n"\r\n', None), (b"\xff", b"", 1)], 1)
def test_what_is_written_is_read(name, entries, size):
    assert entries_in(name, text_of(name, entries), size=size) == entries


@FORMS
@given(junk=st.binary(max_size=200) | TEXTS, header=st.booleans())
@example(junk=b'{"key":"\\ud800","value":""}\n', header=False)
@example(junk=b'{"key":' + b"[" * 100_000 + b"\n", header=False)
@example(junk=b'"' * 3 + b"\n", header=True)
@example(junk=b"a\rb,,,\n", header=True)
@example(junk="é,é,,base64\n".encode(), header=True)
@example(junk="a,b,²,\n".encode(), header=True)
def test_junk_is_a_bad_line_and_nothing_else(name, junk, header):
    data = (FORMATS[name].header + b"\n") * header + junk
    number = 1
    try:
        entries_in(name, data)
    except BadLine as error:
        number = error.number
    assert 1 <= number <= data.count(b"\n") + 1


@FORMS
@given(ENTRIES.filter(len), st.data())
def test_a_cut_file_gives_a_part_of_its_entries_and_never_another(name, entries, data):
    text = text_of(name, entries)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    found = []
    with suppress(BadLine):
        found.extend(record.entry for record in parse_records(read_in(cut, 7), FORMATS[name], 0))
    assert found == entries[: len(found)]


@FORMS
@given(ENTRIES)
def test_after_the_last_line_of_any_record_it_can_be_gone_on(name, entries):
    text = text_of(name, entries)
    for at, record in enumerate(parse_records(read_in(text, 9), FORMATS[name], 0)):
        assert entries_in(name, text, skip=record.last) == entries[at + 1 :]


def test_text_stays_text_and_each_of_key_and_value_for_itself():
    items = [(b"a", "é".encode(), 1, None), (b"\xff", b"x", 2, 5)]
    assert [json.loads(line) for line in FORMATS["jsonl"].encode(items).splitlines()] == [
        {"key": "a", "value": "é"},
        {"key64": "/w==", "value": "x", "expires": 5},
    ]
    assert FORMATS["csv"].encode(items) == "a,é,,\r\n/w==,eA==,5,base64\r\n".encode()


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("jsonl", b'{"key":"a"}', "has neither value nor value64"),
        ("jsonl", b'{"key":"a","key64":"YQ==","value":""}', "has both key and key64"),
        ("jsonl", b'{"key":"","value":""}', "the key is empty"),
        ("jsonl", b'{"key64":"YQ","value":""}', "key64 has to be base64, not text"),
        ("jsonl", b'{"key":"a","value":"","ttl":1}', "unknown field `ttl`"),
        ("jsonl", b'{"key":"a","value":"","expires":0}', "expires has to be at least 1"),
        ("jsonl", b'["a"]', "the line has to be an object, not an array"),
        ("jsonl", b'{"key":"\xff","value":""}', "is not JSON: "),
        ("jsonl", b'{"key":1,"value":""}', "key has to be text, not a whole number"),
        ("jsonl", b'{"key64":1,"value":""}', "key64 has to be base64, not a whole number"),
        ("jsonl", b'{"key":"a","value":"","expires":281474976710657}', "expires has to be at most 281474976710656"),
        ("jsonl", b'{"key":1,"key":"a","value":""}', "has a member twice"),
        ("jsonl", b'{"key":1', "is not JSON: "),
        ("jsonl", b'{"key":[],"value":' + b"[" * 9999, "is not JSON: "),
        ("csv", b"a,b", "has 2 cells"),
        ("csv", b"a,b,soon,", "expires is 'soon'"),
        ("csv", b"a,b,281474976710657,", "expires is '281474976710657'"),
        ("csv", b"a,b,,base32", "encoding is 'base32'"),
        ("csv", b"a,b,,base64", "its base64 cannot be read"),
        ("csv", b"Y Q==,,,base64", "its base64 cannot be read"),
        ("csv", b"YQ==,Y Q==,,base64", "its base64 cannot be read"),
        ("csv", b",b,,", "the key is empty"),
        ("csv", b"\xff,b,,", "can't decode byte 0xff"),
        ("csv", b'"a"b,,,', "expected after"),
        ("csv", b"k" * (KEY_BYTES_MAX + 1) + b",,,", "the key has 4,097 bytes; at most 4,096"),
        ("csv", b"k," + b"v" * (VALUE_BYTES_MAX + 1) + b",,", "the value has 16,777,217 bytes; at most 16,777,216"),
    ],
)
def test_what_is_wrong_is_said(name, line, message):
    with pytest.raises(Malformed) as caught:
        FORMATS[name].decode(line)
    assert message in str(caught.value)


def test_the_largest_entry_is_read():
    entry = (b"\0" * KEY_BYTES_MAX, b"\0" * VALUE_BYTES_MAX, TIME_MS_MAX)
    for name in FORMATS:
        assert entries_in(name, text_of(name, [entry]), size=2**18) == [entry]


@pytest.mark.parametrize(
    ("name", "data", "number", "message"),
    [
        ("jsonl", b'{"key":"a","value":""}\n\n{"key":"b"}\n', 3, "has neither value"),
        ("csv", b"", 1, "the first line is not key,value,expires,encoding"),
        ("csv", b"a,b,,\n", 1, "the first line is not key,value,expires,encoding"),
        ("csv", b'key,value,expires,encoding\na,"\n",,\nb,,\n', 4, "has 3 cells"),
        ("csv", b'key,value,expires,encoding\na,"\n\n,,\n', 2, "never closed"),
        ("csv", b"key,value,expires,encoding\na,b,,", 2, "has no line end"),
        ("csv", b'key,value,expires,encoding\na,"\n",,', 2, "has no line end"),
    ],
)
def test_the_line_is_named(name, data, number, message):
    with pytest.raises(BadLine) as caught:
        entries_in(name, data)
    assert (caught.value.number, message in str(caught.value)) == (number, True), caught.value


@FORMS
def test_a_line_without_an_end_is_not_held_in_memory_for_ever(name, monkeypatch):
    monkeypatch.setattr(lines_module, "RECORD_BYTES_MAX", 100)
    header = FORMATS[name].header + b"\n" * bool(FORMATS[name].header)
    parts = iter([*filter(None, [header]), *[b"x" * 10] * 50])
    with pytest.raises(BadLine, match="longer than any entry"):
        list(parse_records(Lines(lambda _: next(parts, b"")), FORMATS[name], 0))
    assert len(list(parts)) > 30


def test_an_open_quote_is_not_held_in_memory_for_ever(monkeypatch):
    monkeypatch.setattr(lines_module, "RECORD_BYTES_MAX", 100)
    parts = iter([FORMATS["csv"].header + b"\n", b'"\n', *[b"x\n"] * 500])
    with pytest.raises(BadLine, match="never closed"):
        list(parse_records(Lines(lambda _: next(parts, b"")), FORMATS["csv"], 0))
    assert len(list(parts)) > 400


def test_files_of_other_hands_are_read():
    data = b"\xef\xbb\xbfkey,value,expires,encoding\n\na,b,,\r\n  \n"
    assert entries_in("csv", data) == [(b"a", b"b", None)]
    data = b'\r\n {"value" : "b", "key":"a", "expires": null}\r\n'
    assert entries_in("jsonl", data) == [(b"a", b"b", None)]


@pytest.mark.parametrize(
    ("name", "form"), [("a.csv", "csv"), ("a.CSV", "csv"), ("a.jsonl", "jsonl"), ("-", "jsonl"), ("csv", "jsonl")]
)
def test_the_format_is_guessed(name, form):
    assert guess_format(name) == form
