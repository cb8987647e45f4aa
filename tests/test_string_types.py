"""A command may have its strings of either kind of msgpack, whatever its client's library can write."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack
from support.golden import golden_lines

from kvd import string_types, wire
from kvd.commands.atomic import Once, Transaction
from kvd.commands.server import Commands, Info
from kvd.commands.values import Get, MultiGet, MultiSet, Set
from kvd.errors import BadArgument, Refused
from kvd.string_types import VALUES_MAX, convert_strings

GOLDEN = [bytes.fromhex(body) for _, body in golden_lines("commands")]


def pack_as(value, kind):
    """Return a value as a library packs it that writes all its strings as one kind: `str` or `bin`."""
    if isinstance(value, list):
        return array_head(len(value)) + b"".join([pack_as(item, kind) for item in value])
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return string_head(len(data), kind) + data
    return msgpack.encode(value)


def array_head(count):
    return bytes((0x90 + count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def string_head(length, kind):
    if kind == "str" and length < 32:
        return bytes((0xA0 + length,))
    size = 0 if length < 2**8 else 1 if length < 2**16 else 2
    return bytes(((0xD9 if kind == "str" else 0xC4) + size,)) + length.to_bytes(2**size, "big")


@pytest.mark.parametrize("kind", ["str", "bin"])
@pytest.mark.parametrize("body", GOLDEN, ids=[name for name, _ in golden_lines("commands")])
def test_each_command_may_have_all_its_strings_of_one_kind(body, kind):
    other = pack_as(msgpack.decode(body), kind)
    assert wire.decode_command(other) == wire.decode_command(body)
    assert msgpack.decode(convert_strings(other)) == msgpack.decode(body)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 255, 256, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("kind", ["str", "bin"])
def test_a_string_of_any_length_keeps_its_bytes(length, kind):
    value = bytes(number % 256 for number in range(length))  # most are no UTF-8
    assert wire.decode_command(pack_as(["SET", b"k", value], kind)) == Set(b"k", value)


def test_kinds_may_be_mixed():
    body = msgpack.encode(["ONCE", b"12345678", [b"TRANSACTION", [["a", 0]], [["GET", b"a"], [b"SET", "b", b"c"]]]])
    assert wire.decode_command(body) == Once(b"12345678", Transaction([(b"a", 0)], [Get(b"a"), Set(b"b", b"c")]))
    assert wire.decode_command(msgpack.encode(["MULTISET", [["a", b"1"], [b"b", "2"]]])) == MultiSet(
        [(b"a", b"1"), (b"b", b"2")]
    )
    assert wire.decode_command(msgpack.encode([b"INFO", b"server"])) == Info("server")
    assert wire.decode_command(msgpack.encode([b"COMMANDS", "get"])) == Commands("get")


def test_the_bytes_of_a_name_have_to_be_text():
    with pytest.raises(BadArgument, match=r"expected `str \| nil`, got `bytes`"):
        wire.decode_command(msgpack.encode(["INFO", b"\xff"]))


@pytest.mark.parametrize("body", GOLDEN)
def test_a_body_that_fits_is_not_copied(body):
    assert convert_strings(body) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x90",
        b"\xc0",
        b"\x92",
        b"\xdd",
        b"\xdd\xff\xff\xff\xff",
        b"\x91\xa9GET",
        b"\x91" * 100_000,
        b"\x92\xa3GET\x81\xc0",
    ],
)
def test_what_is_no_command_is_left_as_it_is(body):
    assert convert_strings(body) == body


@given(
    st.binary(max_size=64)
    | st.sampled_from(GOLDEN).flatmap(lambda body: st.integers(0, len(body)).map(lambda at: body[:at]))
)
def test_no_body_makes_it_fail(body):
    convert_strings(body)
    with suppress(Refused):
        wire.decode_command(body)


def test_a_body_of_very_many_values_is_left_as_it_is(monkeypatch):
    keys = ["k"] * 100
    assert wire.decode_command(msgpack.encode(["MULTIGET", keys])) == MultiGet([b"k"] * 100)
    monkeypatch.setattr(string_types, "VALUES_MAX", 100)
    body = msgpack.encode(["MULTIGET", keys])
    assert convert_strings(body) is body
    with pytest.raises(BadArgument, match="expected `bytes`, got `str`"):
        wire.decode_command(body)


def test_all_that_one_command_takes_is_within_the_bound():
    assert VALUES_MAX > 4 * 10_000
    body = msgpack.encode(["TRANSACTION", [], [["SET", "k", "v"]] * 10_000])
    assert len(wire.decode_command(body).commands) == 10_000
