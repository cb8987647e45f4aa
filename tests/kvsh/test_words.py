"""Words: redis-cli's quoting both ways, and the property that what is printed pastes back."""

from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvsh import words
from kvsh.words import (
    Cut,
    Unbalanced,
    Word,
    as_word,
    cut,
    display_form,
    display_pieces,
    is_comment,
    pieces,
    quote,
    quote_pieces,
    split,
)


def values(line: bytes) -> list[bytes]:
    return [word.value for word in split(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", []),
        (b"   ", []),
        (b"get city", [b"get", b"city"]),
        (b" \tget\v\fcity \r", [b"get", b"city"]),
        (b'set k ""', [b"set", b"k", b""]),
        (b"''", [b""]),
        (rb'"a\nb\r\t\b\a\\\"\x00\xfF"', [b'a\nb\r\t\b\a\\"\x00\xff']),
        (rb'"\q\x0g"', [b"qx0g"]),
        (rb"'a\nb\'c\\ '", [rb"a\nb'c\\ "]),
        (b'pre"fix ed"', [b"prefix ed"]),
        (b"\xff\x00 \xfe", [b"\xff\x00", b"\xfe"]),
        (rb"a\nb", [rb"a\nb"]),
        (b'"a\nb" c  ', [b"a\nb", b"c"]),
        (b"'\"' \"'\"", [b'"', b"'"]),
    ],
)
def test_a_line_is_cut_as_redis_cli_does(line, expected):
    assert values(line) == expected


@pytest.mark.parametrize(
    ("line", "position", "message"),
    [
        (b'set k "abc', 6, 'this quote is not closed: "abc'),
        (b"it's", 2, "this quote is not closed: 's"),
        (rb"'a\'", 0, r"this quote is not closed: 'a\'"),
        (b'"a\\"', 0, 'this quote is not closed: "a\\"'),
        (b'a "b"c', 5, "a closing quote is followed by a blank or the end of the line"),
        (b'"b""c"', 3, "a closing quote is followed by a blank or the end of the line"),
    ],
)
def test_quotes_that_do_not_balance_are_told_with_their_place(line, position, message):
    with pytest.raises(Unbalanced) as caught:
        split(line)
    assert (caught.value.position, str(caught.value)) == (position, message)


def test_words_know_where_they_stand_and_whether_they_were_quoted():
    line = b'  set "a b" c'
    assert split(line) == [
        Word(b"set", quoted=False, start=2, end=5),
        Word(b"a b", quoted=True, start=6, end=11),
        Word(b"c", quoted=False, start=12, end=13),
    ]


@pytest.mark.parametrize(
    ("line", "before", "typed"),
    [
        (b"", [], Word(b"")),
        (b"ge", [], Word(b"ge", quoted=False, start=0, end=2)),
        (b"get ", [b"get"], Word(b"", quoted=False, start=4, end=4)),
        (b"get ci", [b"get"], Word(b"ci", quoted=False, start=4, end=6)),
        (b'get "ci ty', [b"get"], Word(b"ci ty", quoted=True, start=4, end=10)),
        (b"get 'ci", [b"get"], Word(b"ci", quoted=True, start=4, end=7)),
        (b'get pre"f', [b"get"], Word(b"pref", quoted=True, start=4, end=9)),
        (rb'get "a\n', [b"get"], Word(b"a\n", quoted=True, start=4, end=8)),
        (b'get "a\\', [b"get"], Word(b"a", quoted=True, start=4, end=7)),
        (rb'get "a\x1', [b"get"], Word(b"a", quoted=True, start=4, end=9)),
        (b'"ge', [], Word(b"ge", quoted=True, start=0, end=3)),
        (b'"ge"', [], Word(b"ge", quoted=True, start=0, end=4)),
    ],
)
def test_the_word_being_typed_is_known_even_within_quotes(line, before, typed):
    found = cut(line)
    assert isinstance(found, Cut)
    assert ([word.value for word in found.before], found.typed) == (before, typed._replace(start=found.typed.start))
    assert found.typed.start == len(line) - (typed.end - typed.start)


def test_a_quote_closed_in_the_middle_of_a_word_is_told_while_typing_too():
    with pytest.raises(Unbalanced):
        cut(b'get "a"b')


@pytest.mark.parametrize(("line", "expected"), [(b"# x", True), (b" \t#", True), (b"", True), (b"get #", False)])
def test_a_comment_begins_with_a_hash(line, expected):
    assert is_comment(line) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", '""'),
        (b"plain", '"plain"'),
        (b'a"b\\', r'"a\"b\\"'),
        (b"a\nb\r\t\b\a\x00\x1b[31m", r'"a\nb\r\t\b\a\x00\x1b[31m"'),
        ("Ahmedābād".encode(), '"Ahmedābād"'),
        (b"\xff\xc4", r'"\xff\xc4"'),
        ("\u202e\x9b".encode(), r'"\xe2\x80\xae\xc2\x9b"'),
    ],
)
def test_a_value_is_printed_in_quotes(value, expected):
    assert quote(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"user:1", "user:1"),
        (b"a b", '"a b"'),
        (b"", '""'),
        (b"limit", '"limit"'),
        (b"#x", '"#x"'),
        (b"a#x", "a#x"),
        (b"|", '"|"'),
        (b"it's", '"it\'s"'),
        (rb"a\n", rb"a\n".decode()),
        (b"\x00", r'"\x00"'),
        ("\u00a0".encode(), '"\\xc2\\xa0"'),
    ],
)
def test_a_word_is_bare_where_that_is_safe(value, expected):
    assert as_word(value, frozenset({b"LIMIT"})) == expected


def test_text_for_a_terminal_keeps_its_lines_and_nothing_that_acts():
    assert display_form(b'a\n\tb\x1b[2J\xff "\\') == 'a\n\tb\\x1b[2J\\xff "\\'


@given(st.lists(st.binary()))
@example([b"\\", b"'", b'"', b"\\x41", b"\xc2\x85", b"#"])
def test_what_is_printed_pastes_back_as_the_same_bytes(wanted):
    for form in (quote, as_word):
        assert values(" ".join(map(form, wanted)).encode(errors="surrogateescape")) == wanted


@given(st.text())
def test_printed_text_has_nothing_that_moves_a_cursor(text):
    assert quote(text.encode(errors="replace")).isprintable()
    assert as_word(text.encode(errors="replace")).isprintable()


@given(st.binary())
def test_no_line_makes_it_fail_otherwise(line):
    try:
        words = split(line)
    except Unbalanced:
        return
    assert all(line[word.start : word.end] for word in words)
    assert cut(line).typed.end <= len(line)


ZWNJ, ZWJ = "\u200c", "\u200d"


@pytest.mark.parametrize(
    "text",
    [
        f"می{ZWNJ}خواهم",  # Persian
        f"API{ZWNJ}ها",  # noqa: RUF001
        f"क्{ZWJ}ष",  # Hindi
        f"👩{ZWJ}👩{ZWJ}👧",
        f"❤\ufe0f{ZWJ}🔥",
        f"👩🏽{ZWJ}🚀",
    ],
)
def test_joiners_between_letters_are_shown_as_they_are(text):
    assert quote(text.encode()) == f'"{text}"'
    assert display_form(text.encode()) == text
    assert as_word(text.encode()) == text
    assert values(f"get {text}".encode()) == [b"get", text.encode()]


@pytest.mark.parametrize("text", [f"admin{ZWJ}", f"{ZWJ}é", f"a{ZWNJ}b", f"é{ZWJ}{ZWJ}é", f"é{ZWJ} é", f"é{ZWJ}\u202e"])
def test_hidden_joiners_are_escaped(text):
    assert "\\xe2\\x80\\x8" in quote(text.encode())
    assert values(quote(text.encode()).encode()) == [text.encode()]


@example(b"\xc2\x80\n\n\n\x80", 5)
@given(st.binary() | st.text(f'é{ZWJ}{ZWNJ}a \r\n"').map(str.encode), st.integers(5, 9))
def test_pieces_are_the_value_and_cut_no_character(value, size):
    found = list(pieces(value, size))
    assert b"".join(found) == value
    assert all(len(piece) <= size for piece in found)
    assert "".join([piece.decode(errors="surrogateescape") for piece in found]) == value.decode(
        errors="surrogateescape"
    )


@given(st.binary() | st.text().map(str.encode))
def test_pieces_show_what_the_whole_shows(value):
    many = value * (300_000 // max(1, len(value))) if len(value) > 50 else value
    assert "".join(display_pieces(many)) == display_form(many) or ZWJ in many.decode(errors="ignore")
    assert values("".join(quote_pieces(many)).encode(errors="surrogateescape")) == [many]


@pytest.mark.parametrize("word", [b"a ", b"'' "])
def test_a_line_has_no_more_words_than_a_command_takes(monkeypatch, word):
    monkeypatch.setattr(words, "WORDS_MAX", 3)
    assert len(words.split(word * 3)) == 3
    with pytest.raises(words.TooManyWords, match="more than 3 words") as caught:
        words.split(word * 4)
    assert len(words.split((word * 4)[: caught.value.position])) == 3


def test_splitting_stops_at_the_first_word_too_many(monkeypatch):
    found, bare, word_at = [], words.BARE, words._word_at
    monkeypatch.setattr(words, "WORDS_MAX", 3)
    counted = SimpleNamespace(finditer=lambda line: (found.append(match) or match for match in bare.finditer(line)))
    monkeypatch.setattr(words, "BARE", counted)
    monkeypatch.setattr(words, "_word_at", lambda *place: found.append(place) or word_at(*place))
    for word in (b"a ", b"'' "):
        found.clear()
        with pytest.raises(words.TooManyWords):
            words.split(word * 1_000)
        assert len(found) == 4
