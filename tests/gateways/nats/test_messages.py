"""The messages and the stored position of the NATS bridge, without a server."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.commands.model import Change
from kvd.errors import BadConfiguration
from kvd.gateways.nats.messages import (
    HEADERS_BYTES,
    SUBJECT_BYTES_MAX,
    BridgeEnded,
    Message,
    Position,
    covers,
    key_of,
    messages_of,
    parse_position,
    position_bytes,
    position_key,
    subject_of,
)
from kvd.json_bytes import decode_bytes

KEYS = st.binary(min_size=1, max_size=60) | st.text(alphabet=".*> ab%", min_size=1, max_size=12).map(str.encode)


@given(KEYS)
def test_a_subject_is_one_that_nats_takes_and_has_its_key(key):
    subject = subject_of(key)
    tokens = subject.split(".")
    assert all(tokens)
    assert subject.isascii()
    assert subject.isprintable()
    assert not set(subject) & set(" *>")
    assert key_of(subject) == key


@given(st.lists(KEYS, min_size=2, max_size=2, unique=True))
def test_two_keys_have_two_subjects(keys):
    assert subject_of(keys[0]) != subject_of(keys[1])


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        (b"city", "kvd.city"),
        (b"user.17.name", "kvd.user.17.name"),
        (b"user:17/x", "kvd.user:17/x"),
        (b".a..b.", "kvd.%2Ea.%2Eb%2E"),
        (b".", "kvd.%2E"),
        (b"a b*>", "kvd.a%20b%2A%3E"),
        (b"100%", "kvd.100%25"),
        ("köln".encode(), "kvd.k%C3%B6ln"),
        (b"\xff\0\r\n", "kvd.%FF%00%0D%0A"),
    ],
)
def test_subjects(key, subject):
    assert subject_of(key) == subject


def test_a_key_too_long_for_a_subject_has_one_by_its_digest():
    longest = b"k" * (SUBJECT_BYTES_MAX - 4)
    assert key_of(subject_of(longest)) == longest
    subject = subject_of(longest + b"k")
    assert subject.startswith("kvd.%long.")
    assert subject != subject_of(longest + b"j")
    assert key_of(subject) is None


def change(key=b"city", value=b"Surat", kind="SET"):
    return Change(kind, 7, key, value, 0, None, 1)


def encode_messages(*args, most=2**20, with_changes=True):
    return [
        (each.subject, json.loads(each.body), each.id)
        for each in messages_of(*args, "h", most, with_changes=with_changes)
    ]


def test_what_is_published_of_a_change():
    assert encode_messages(change()) == [
        ("set", {"key": "city", "val": "Surat"}, "h-7-set"),
        ("kvd.city", {"revision": 7, "kind": "SET", "key": "city", "value": "Surat"}, "h-7"),
    ]
    assert encode_messages(change(value=None, kind="EXPIRED")) == [
        ("rm", {"key": "city"}, "h-7-rm"),
        ("kvd.city", {"revision": 7, "kind": "EXPIRED", "key": "city"}, "h-7"),
    ]
    assert encode_messages(change(value=None, kind="CLEAR"), with_changes=False) == [("rm", {"key": "city"}, "h-7-rm")]


def test_bytes_that_are_no_text_are_base64():
    [(_, body, _)] = encode_messages(change(b"\xff", b"\0\xfe"), with_changes=False)
    assert body == {"key": {"base64": "/w=="}, "val": {"base64": "AP4="}}


def test_a_value_too_large_for_the_server_is_left_out_and_marked():
    most = 1_000 + HEADERS_BYTES
    fits = 1_000 - len('{"key":"city","val":""}')
    assert bytes_left_out(change(value=b"x" * fits), most)[0] is None
    [cut] = messages_of(change(value=b"x" * (fits + 1)), "h", most, with_changes=False)
    assert (cut.key, cut.left_out_bytes) == (b"city", fits + 1)
    assert json.loads(cut.body) == {"key": "city", "val": None, "too_large": True, "bytes": fits + 1}
    assert bytes_left_out(change(value=b"\xff" * 900), most) == [900] * 2


def bytes_left_out(changed, most):
    return [each.left_out_bytes for each in messages_of(changed, "h", most, with_changes=True)]


def test_control_characters_do_not_make_a_value_too_large():
    """As a string of JSON each takes six bytes."""
    value = b"\7" * 600
    [whole] = messages_of(change(value=value), "h", 1_000 + HEADERS_BYTES, with_changes=False)
    assert decode_bytes(json.loads(whole.body)["val"]) == value


def test_a_key_is_shown_within_bounds_and_without_line_breaks_of_its_own():
    assert Message("set", b"", "", "größe".encode()).key_text == "größe"
    assert Message("set", b"", "", b"\xff" * 300).key_text == "\\xff" * 200


def test_a_server_that_does_not_even_take_a_key():
    with pytest.raises(BridgeEnded, match=r"accepts 300 bytes a message: a change of the key 'kkk.*' needs"):
        list(messages_of(change(key=b"k" * 300), "h", 300, with_changes=False))


def test_positions():
    position = Position("h", 7, "w")
    assert parse_position(position_bytes(position)) == position
    for junk in (b"", b"7", b"{}", b'{"history":"h","revision":-1,"writer":""}', b"\xff", b"null"):
        assert parse_position(junk) is None
    assert position_key("a-b_1") == b"kvd:nats:a-b_1"
    for name in ("", "a b", "a.b", "x" * 65):
        with pytest.raises(BadConfiguration):
            position_key(name)


@pytest.mark.parametrize(
    ("pattern", "subject", "holds"),
    [
        ("kvd.>", "kvd.a", True),
        ("kvd.>", "kvd.a.b", True),
        ("kvd.>", "kvd", False),
        (">", "set", True),
        ("*", "set", True),
        ("*", "kvd.a", False),
        ("kvd.*", "kvd.a.b", False),
        ("kvd.*.b", "kvd.a.b", True),
        ("set", "rm", False),
        ("set", "set", True),
        ("kvd.a.b", "kvd.a", False),
    ],
)
def test_which_subjects_a_stream_holds(pattern, subject, holds):
    assert covers(pattern, subject) is holds
