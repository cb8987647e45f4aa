"""JSON in pieces: the same as in one, each piece small, and base64 where escapes would be longer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kvd.gateways.common.json_pieces import PIECE_BYTES, bytes_to_json, join_small, pieces_of, to_json, weight
from kvd.json_bytes import decode_bytes

LARGE = 3 * PIECE_BYTES + 1
CONTROL = b"\x07"
LETTERS = "Grüße, 世界 🎈".encode()


@pytest.mark.parametrize(
    ("data", "is_text"),
    [
        (b"", True),
        (b"city", True),
        (LETTERS, True),
        (b'[{"a":"b"},{"c":"d"}]' * 1_000, True),  # many quotes, of two characters each
        (b'"\\\n\r\t\b\f' * 1_000, True),
        (b"\x1b[31merror\x1b[0m: the file notes.txt of ada cannot be opened\n" * 1_000, True),
        (CONTROL, True),
        (CONTROL * 3, False),
        (CONTROL * 100, False),
        (b"\0\0\0\7" * 10, False),
        (b"\xff", False),
    ],
)
def test_bytes_are_base64_where_that_is_shorter_or_they_are_not_utf8(data, is_text):
    found = bytes_to_json(data)
    assert isinstance(found, str) == is_text
    assert decode_bytes(json.loads(json.dumps(found))) == data
    if not is_text and data != b"\xff":
        assert len(json.dumps(found)) < len(json.dumps(data.decode()))


@pytest.mark.parametrize(
    "value",
    [
        b"x" * LARGE,
        CONTROL * LARGE,
        b"\xff" * LARGE,
        b"x" * LARGE + b"\xff",
        b"x" * LARGE + b"\xc3",  # the beginning of a letter
        b"x" * (PIECE_BYTES - 1) + "ü".encode() + b"x" * PIECE_BYTES,  # one that is cut by the end of a slice
        LETTERS * PIECE_BYTES,
        b'"\n' * LARGE,
        [b"x" * LARGE, b"a", CONTROL * LARGE, None, 7],
        [[b"key:%d" % number, b"value" * 20, number, None] for number in range(2_000)],
        [b"a"] * 10_000,
        {"revision": 3, "items": [{"key": b"k", "value": b"v" * LARGE}, {"key": b"\xff", "value": b""}], "next": None},
        {"only": b"v" * LARGE, 'a"b': [], "c": {}},
        [[], {}, [[]], b"x" * LARGE],
        (b"x" * LARGE, "t" * LARGE),
        {},
        [],
        None,
    ],
)
def test_pieces_are_the_same_json_and_small(value):
    pieces = [*pieces_of(value)]
    assert json.loads(b"".join(pieces)) == to_json(value)
    text = isinstance(value, tuple)  # a text of the daemon's own is never large
    assert text or max(map(len, pieces)) <= 6 * PIECE_BYTES + 100
    whole = [*join_small(iter(pieces))]
    assert b"".join(whole) == b"".join(pieces)
    assert all(len(each) >= PIECE_BYTES for each in whole[:-1])


LEAVES = some.none() | some.booleans() | some.integers(-(2**63), 2**63 - 1) | some.binary(max_size=20) | some.text()
LEAVES |= some.builds(bytes.__mul__, some.binary(min_size=1, max_size=8), some.integers(0, PIECE_BYTES))
VALUES = some.recursive(LEAVES, lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner), max_leaves=10)


@given(VALUES)
def test_pieces_of_anything_are_the_same_json(value):
    assert json.loads(b"".join(pieces_of(value))) == to_json(value)


def test_small_pieces_are_put_together():
    assert [*join_small(iter([b"a", b"b", b"x" * PIECE_BYTES, b"c"]))] == [b"ab" + b"x" * PIECE_BYTES, b"c"]
    assert [*join_small(iter([b"x" * PIECE_BYTES]))] == [b"x" * PIECE_BYTES]


def test_a_result_is_weighed_as_far_as_needed():
    assert weight([b"x" * 100] * 10, 1_000) >= 1_000
    assert weight(7, 1_000) < 100
    assert weight({"a": [b"x" * 100] * 1_000_000}, 1_000) < 2_000
