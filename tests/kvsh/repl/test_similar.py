"""Keys that are almost what was typed."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsh.repl.similar import HEADS_MAX, OFFERED_MAX, cases, find_loosely, similar


class Keys:
    """A daemon's keys, and how often it was asked."""

    def __init__(self, *keys):
        self.keys = sorted(keys)
        self.asked = 0

    async def scan(self, prefix, limit):
        self.asked += 1
        return [key for key in self.keys if key.startswith(prefix)][:limit]


def find(typed, *keys):
    return asyncio.run(similar(Keys(*keys).scan, typed, 100))


KEYS = (b"USER:1", b"User:2", b"city", b"user:1", b"user:10", "stra\u00dfe \u00c9".encode(), b"x\xffy")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"USER:1", [b"USER:1", b"user:1", b"user:10"]),
        (b"uSer:", [b"USER:1", b"User:2", b"user:1", b"user:10"]),
        (b"CITY", [b"city"]),
        ("STRA\u00dfE \u00e9".encode(), ["stra\u00dfe \u00c9".encode()]),
        (b"X\xff", [b"x\xffy"]),
        (b"us1", [b"USER:1", b"user:1", b"user:10"]),
        (b"u0", [b"user:10"]),
        (b"ty", [b"city"]),
        (b"ser:2", [b"User:2"]),
        (b"z", []),
        (b"zz", []),
    ],
)
def test_what_is_found(typed, expected):
    assert find(typed, *KEYS) == expected


@given(st.text(st.characters(categories=["Lu", "Ll", "Nd", "Po"], max_codepoint=0x17F), min_size=1, max_size=9))
def test_any_key_is_found_from_its_other_case(key):
    typed = "".join(cases(character)[-1] for character in key)
    if all(character in cases(other) for character, other in zip(key, typed, strict=False)) and len(typed) == len(key):
        assert key.encode() in find(typed.encode(), key.encode(), b"other")


def test_the_questions_are_bounded():
    keys = Keys(*[f"{number:012b}".replace("0", "a").replace("1", "A").encode() for number in range(4096)])
    result = asyncio.run(similar(keys.scan, b"AAaaAaAaAaAa", 100))
    assert result
    assert keys.asked <= 12 * 2 * HEADS_MAX + HEADS_MAX


def test_the_closest_come_first_and_few():
    assert find_loosely([b"a--b", b"xa-b", b"ab", b"a-b"], "AB") == [b"ab", b"a-b", b"xa-b", b"a--b"]
    assert len(find_loosely([b"ab%d" % number for number in range(99)], "ab")) == OFFERED_MAX
