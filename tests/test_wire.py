"""Bytes to commands and back. Whatever the bytes are: a command, or one of four errors with a sentence."""

import struct
import tracemalloc

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import msgpack

from kvd import wire
from kvd.commands import COMMANDS
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Error, Ok
from kvd.commands.changes import Changes
from kvd.commands.keys import Scan
from kvd.commands.model import Change
from kvd.commands.server import Ping
from kvd.commands.values import Clear, Get, Incr, MultiSet, Set
from kvd.errors import BadArgument, BadRequest, Compacted, Conflict, Refused, TooLarge, UnknownCommand
from kvd.limits import COMMAND_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX, VALUE_BYTES_MAX
from kvd.wire_errors import EXPLAINED_BYTES_MAX

LONGEST_KEY = b"\xff" * KEY_BYTES_MAX


def catch_refusal(body):
    with pytest.raises(Refused) as caught:
        wire.decode_command(body)
    return type(caught.value), caught.value.message


@pytest.mark.parametrize(
    ("array", "command"),
    [
        (["GET", b"a"], Get(b"a")),
        (["GET", LONGEST_KEY], Get(LONGEST_KEY)),
        (["SET", b"a", b""], Set(b"a", b"")),
        (["SET", b"a", b"", None, None, None, None, None, None, None], Set(b"a", b"")),
        (["SET", b"a", b"b", None, 5, False, True], Set(b"a", b"b", at=5, keep_ttl=False, nx=True)),
        (["INCR", b"a", -(2**63)], Incr(b"a", -(2**63))),
        (["INCR", b"a", 2**63 - 1], Incr(b"a", 2**63 - 1)),
        (["CLEAR", [b"a"] * KEYS_MAX], Clear([b"a"] * KEYS_MAX)),
        (["MULTISET", [[b"a", b"b"]]], MultiSet([(b"a", b"b")])),
        (["SCAN"], Scan()),
        (["CHANGES", 0, b"", 1, 2], Changes(0, b"", 1, 2)),
        (["PING"], Ping()),
        (["ONCE", b"12345678", ["INCR", b"a"]], Once(b"12345678", Incr(b"a"))),
        (
            ["ONCE", b"12345678", ["TRANSACTION", [[b"a", 0]], [["GET", b"a"]]]],
            Once(b"12345678", Transaction([(b"a", 0)], [Get(b"a")])),
        ),
    ],
)
def test_an_array_is_a_command(array, command):
    assert wire.decode_command(msgpack.encode(array)) == command


NOT_AN_ARRAY = 'the body is not an array that begins with a command\'s name, such as ["GET", key]'


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        ([], BadRequest, NOT_AN_ARRAY),
        ([1], BadRequest, NOT_AN_ARRAY),
        ([b"\xff", b"a"], BadRequest, NOT_AN_ARRAY),
        ([b"NOPE", b"a"], UnknownCommand, "there is no command 'NOPE': COMMANDS lists them"),
        ({"GET": b"a"}, BadRequest, NOT_AN_ARRAY),
        ("GET", BadRequest, NOT_AN_ARRAY),
        (None, BadRequest, NOT_AN_ARRAY),
        (["NOPE"], UnknownCommand, "there is no command 'NOPE': COMMANDS lists them"),
        (["get", b"a"], UnknownCommand, "there is no command 'get': COMMANDS lists them"),
        (["x" * 65], UnknownCommand, f"there is no command '{'x' * 64}': COMMANDS lists them"),
        (["GET"], BadArgument, "GET: wrong number of arguments: the syntax is GET key"),
        (["GET", b"a", b"b"], BadArgument, "GET: wrong number of arguments: the syntax is GET key"),
        (["PING", b"a", b"b"], BadArgument, "PING: wrong number of arguments: the syntax is PING [message]"),
        (["GET", ""], BadArgument, "GET: argument 1 (key): expected `bytes` of length >= 1"),
        (["GET", 1], BadArgument, "GET: argument 1 (key): expected `bytes`, got `int`"),
        (["GET", None], BadArgument, "GET: argument 1 (key): expected `bytes`, got `nil`"),
        (["GET", b""], BadArgument, "GET: argument 1 (key): expected `bytes` of length >= 1"),
        (["GET", LONGEST_KEY + b"x"], TooLarge, "GET: argument 1 (key): expected `bytes` of length <= 4096"),
        (
            ["SET", b"a", b"x" * (VALUE_BYTES_MAX + 1)],
            TooLarge,
            "SET: argument 2 (value): expected `bytes` of length <= 16777216",
        ),
        (["SET", b"a", b"b", 0], BadArgument, "SET: argument 3 (ttl): expected `int` >= 1"),
        (["SET", b"a", b"b", True], BadArgument, "SET: argument 3 (ttl): expected `int | nil`, got `bool`"),
        (["SET", b"a", b"b", None, 2**60], BadArgument, "SET: argument 4 (at): expected `int` <= 281474976710656"),
        (["INCR", b"a", 2**63], BadArgument, "INCR: argument 2 (by): expected `int` <= 9223372036854775807"),
        (["INCR", b"a", 2**64 - 1], BadArgument, "INCR: argument 2 (by): expected `int` <= 9223372036854775807"),
        (["INCR", b"a", 1.5], BadArgument, "INCR: argument 2 (by): expected `int | nil`, got `float`"),
        (["CLEAR", []], BadArgument, "CLEAR: argument 1 (keys): expected `array` of length >= 1"),
        (["CLEAR", [b"a", b""]], BadArgument, "CLEAR: argument 1 (keys[1]): expected `bytes` of length >= 1"),
        (["CLEAR", [b"a"] * 10_001], TooLarge, "CLEAR: argument 1 (keys): expected `array` of length <= 10000"),
        (["MULTISET", [[b"a"]]], BadArgument, "MULTISET: argument 1 (pairs[0]): expected `array` of length 2, got 1"),
        (["SCAN", b"", None, 10_001], BadArgument, "SCAN: argument 3 (limit): expected `int` <= 10000"),
        (["INFO", "x" * 65], TooLarge, "INFO: argument 1 (section): expected `str` of length <= 64"),
        (["CHANGES", -1], BadArgument, "CHANGES: argument 1 (since): expected `int` >= 0"),
        (
            ["ONCE", b"short", ["INCR", b"a"]],
            BadArgument,
            "ONCE: argument 1 (token): expected `bytes` of length >= 8",
        ),
        (
            ["ONCE", b"12345678", ["GET", b"a"]],
            BadArgument,
            "ONCE: argument 2 (write): GET is not allowed inside ONCE",
        ),
        (
            ["ONCE", b"12345678", ["ONCE", b"12345678", ["INCR", b"a"]]],
            BadArgument,
            "ONCE: argument 2 (write): ONCE is not allowed inside ONCE",
        ),
        (
            ["ONCE", b"12345678", ["INCRE", b"a"]],
            BadArgument,
            "ONCE: argument 2 (write): there is no command 'INCRE'",
        ),
        (
            ["ONCE", b"12345678", [b"\xff", b"a"]],
            BadArgument,
            "ONCE: argument 2 (write): expected a command, an array that begins with its name",
        ),
        (
            ["ONCE", b"12345678", []],
            BadArgument,
            "ONCE: argument 2 (write): expected a command, an array that begins with its name",
        ),
        (["ONCE", b"12345678", 5], BadArgument, "ONCE: argument 2 (write): expected `array`, got `int`"),
        (["ONCE", b"12345678", {}], BadArgument, "ONCE: argument 2 (write): expected `array`, got `map`"),
        (
            ["ONCE", b"12345678", ["INCR"]],
            BadArgument,
            "ONCE: argument 2 (write): INCR: wrong number of arguments: the syntax is INCR key [by]",
        ),
        (
            ["ONCE", b"12345678", ["INCR", LONGEST_KEY + b"x"]],
            TooLarge,
            "ONCE: argument 2 (write): INCR: argument 1 (key): expected `bytes` of length <= 4096",
        ),
        (
            ["TRANSACTION", [], [["GET", b"a"], ["PING"]]],
            BadArgument,
            "TRANSACTION: argument 2 (commands[1]): PING is not allowed inside TRANSACTION",
        ),
        (
            ["TRANSACTION", [], [["GET", b"a"], ["CLEAR", [b"a", b""]]]],
            BadArgument,
            "TRANSACTION: argument 2 (commands[1]): CLEAR: argument 1 (keys[1]): expected `bytes` of length >= 1",
        ),
        (
            ["TRANSACTION", [[b"a", -1]], [["GET", b"a"]]],
            BadArgument,
            "TRANSACTION: argument 1 (conditions[0][1]): expected `int` >= 0",
        ),
        (
            ["TRANSACTION", [], []],
            BadArgument,
            "TRANSACTION: argument 2 (commands): expected `array` of length >= 1",
        ),
    ],
)
def test_an_array_that_is_no_command_gets_a_sentence(array, error, message):
    assert catch_refusal(msgpack.encode(array)) == (error, message)


NESTED = 20_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x92\xa3GET\xc4\x01ab",
        b"\x91" * NESTED,
        b"\x92\xa3GET" + b"\x91" * NESTED + b"\xc0",
        b"\x92\xa3GET" + b"\x81\xc0" * NESTED,
        b"\x92\xa3GET" + b"\x81" * NESTED,
        b"\x92\xa3GET\x81\x80\x01",
        b"\x92\xa3GET\xd7\xff" + b"\xff" * 8,
        b"\x92\xa4INFO\xa1\xff",
        b"\x91\xa1\xff",
        b"\xdd\xff\xff\xff\xff\xa3GET",
        b"\x92\xa5CLEAR\xdd\xff\xff\xff\xff",
        b"\x92\xa8MULTISET\xdd\xff\xff\xff\xff\x92",
        b"\x92\xa3GET\xdf\xff\xff\xff\xff",
        b"\x92\xa3GET\xc6\xff\xff\xff\xff",
    ],
    ids=range(16),
)
def test_bytes_that_are_not_msgpack_get_a_sentence(body):
    error, message = catch_refusal(body)
    assert error is BadRequest
    assert message.startswith("the body is not msgpack: ")


def test_a_body_beyond_the_limit_is_not_even_looked_at():
    message = f"the command is {COMMAND_BYTES_MAX + 1} bytes; at most {COMMAND_BYTES_MAX} are allowed"
    assert catch_refusal(bytes(COMMAND_BYTES_MAX + 1)) == (TooLarge, message)
    assert catch_refusal(bytes(COMMAND_BYTES_MAX))[0] is BadRequest


# Fuzz

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.binary(max_size=9),
    st.text(max_size=9),
    st.sampled_from([b"12345678", b"a", b"", b"x" * 4097, 0, 1, 2**63]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=8,
)
NAMES = st.sampled_from([*COMMANDS, "NOPE"])
ARRAYS = st.builds(
    lambda name, rest: [name, *rest], NAMES, st.lists(st.one_of(TREES, st.deferred(lambda: ARRAYS)), max_size=9)
)
VALID = st.sampled_from(
    [
        Get(b"a"),
        Set(b"a", b"value", ttl=60_000, nx=True, previous=True),
        Clear([b"a", b"b"]),
        MultiSet([(b"a", b"b"), (b"c", b"d")]),
        Incr(b"a", -5),
        Scan(b"a", b"ab", 10, values=True),
        Changes(41, b"user:", 10, 100),
        Once(b"12345678", Set(b"a", b"b", at=10)),
        Transaction([(b"a", 1)], [Get(b"a"), Set(b"b", b"c"), Clear([b"d"])]),
    ]
).map(wire.encode)


def command_or_refusal(body):
    """Decode; return the command, None if it was refused. Any other exception fails the test."""
    try:
        command = wire.decode_command(body)
    except (BadRequest, UnknownCommand, BadArgument, TooLarge) as error:
        reply = wire.error_reply(error)
    else:
        assert type(command) in COMMANDS.values()
        return command
    assert wire.decode_reply(wire.encode(reply)) == reply
    return None


@given(st.binary(max_size=64))
@example(b"\xc1")
def test_any_bytes_are_a_command_or_refused(body):
    command_or_refusal(body)


@given(ARRAYS)
def test_any_array_is_a_command_or_refused(array):
    command_or_refusal(msgpack.encode(array))


@given(VALID, st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 90))
def test_a_valid_body_with_some_bytes_changed_is_a_command_or_refused(body, edits, length):
    changed = bytearray(body)
    for place, byte in edits:
        changed[place % len(changed)] = byte
    command_or_refusal(bytes(changed[:length]) if length < len(changed) else bytes(changed))


@given(st.sampled_from([b"\x92\xa3GET", b"\x92\xa5CLEAR", b"\x92\xa8MULTISET\x91", b"\x93\xabTRANSACTION\x90"]))
def test_a_length_that_promises_gigabytes_takes_no_memory(begun):
    for opcode in (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"):
        assert command_or_refusal(begun + opcode + struct.pack(">I", 2**32 - 1)) is None


@given(VALID)
def test_what_a_command_is_encoded_to_is_that_command(body):
    assert wire.encode(command_or_refusal(body)) == body


# Replies, changes, control


def test_a_reply_is_told_by_its_first_word():
    assert wire.decode_reply(wire.encode(Ok(3, b"v"))) == Ok(3, b"v")
    assert wire.decode_reply(wire.encode(Error("BUSY", "wait", {}))) == Error("BUSY", "wait", {})
    with pytest.raises(msgspec.DecodeError):
        wire.decode_reply(msgpack.encode(["MAYBE", 1]))


def test_an_error_goes_over_the_wire_and_is_raised_again():
    reply = wire.error_reply(Conflict("no", revision=7))
    assert reply == Error("CONFLICT", "no", {"revision": 7, "outcome": "failed"})
    with pytest.raises(Conflict) as caught:
        wire.raise_error(wire.decode_reply(wire.encode(reply)))
    assert (caught.value.message, caught.value.details) == ("no", {"revision": 7})
    with pytest.raises(Compacted):
        wire.raise_error(Error("COMPACTED", "gone", {"compacted": 3}))


ROW = (7, 1, b"user:1", b"v", 3, 2, 99, 50)
CHANGE = Change("SET", 7, b"user:1", b"v", 3, 99, 50)


def test_a_change_is_published_under_its_key():
    [topic], [body] = wire.encode_changes([ROW])
    assert topic == b"kuser:1"
    assert body == wire.encode(CHANGE)
    assert wire.decode_change(body) == CHANGE
    assert wire.changes_in(msgpack.decode(wire.encode([CHANGE]))) == [CHANGE]


def test_control_bodies_are_arrays():
    assert wire.decode_control(wire.heartbeat(7, 50)) == ["HEARTBEAT", 7, 50]
    assert wire.decode_control(wire.encode_compacted(7)) == ["COMPACTED", 7]


# Large bodies

EMPTY_ARRAYS = b"\x90" * 1_000_000
MANY = b"\xdd" + struct.pack(">I", len(EMPTY_ARRAYS))
NOT_AN_ARRAY_OR_TOO_LONG = [
    (MANY + EMPTY_ARRAYS, BadRequest, NOT_AN_ARRAY),
    (
        b"\xdd" + struct.pack(">I", len(EMPTY_ARRAYS) + 1) + b"\xa3GET" + EMPTY_ARRAYS,
        BadArgument,
        "GET: wrong number of arguments: the syntax is GET key",
    ),
    (
        b"\xdd" + struct.pack(">I", len(EMPTY_ARRAYS) + 1) + b"\xa3FOO" + EMPTY_ARRAYS,
        UnknownCommand,
        "there is no command 'FOO': COMMANDS lists them",
    ),
    (
        b"\x92\xa3GET" + MANY + EMPTY_ARRAYS,
        BadArgument,
        "GET: argument 1 (key): expected `bytes`, got `array`",
    ),
    (
        b"\x92\xa5CLEAR" + MANY + EMPTY_ARRAYS,
        TooLarge,
        "CLEAR: argument 1 (keys): expected `array` of length <= 10000",
    ),
    (
        b"\x92\xa8MULTISET\x91" + MANY + EMPTY_ARRAYS,
        BadArgument,
        "MULTISET: argument 1 (pairs[0]): expected `array` of length 2",
    ),
    (
        b"\x93\xa4ONCE\xc4\x08" + b"t" * 8 + MANY + EMPTY_ARRAYS,
        BadArgument,
        "ONCE: argument 2 (write): expected a command, an array that begins with its name",
    ),
    (b"\x92\xa3GET\x81\xc0" + MANY + EMPTY_ARRAYS, BadArgument, "GET: argument 1 (key): expected `bytes`, got `map`"),
]


@pytest.mark.parametrize(("body", "error", "message"), NOT_AN_ARRAY_OR_TOO_LONG, ids=range(8))
def test_a_large_body_gets_its_sentence_without_being_decoded_as_a_whole(body, error, message):
    """30 MB of empty arrays took seven seconds and two gigabytes to decode, only to be refused."""
    tracemalloc.start()
    try:
        assert catch_refusal(body) == (error, message)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


def test_of_a_large_body_that_is_cut_off_the_sentence_says_so():
    error, message = catch_refusal(b"\x93\xa3GET" + b"\x90" * EXPLAINED_BYTES_MAX)
    assert error is BadRequest
    assert message.startswith("the body is not msgpack: ")


def test_the_last_of_many_arguments_is_found():
    pairs = [[b"%d" % number, b"v" * 50] for number in range(KEYS_MAX)]
    pairs[-1][0] = b""
    message = "MULTISET: argument 1 (pairs[9999][0]): expected `bytes` of length >= 1"
    assert catch_refusal(msgpack.encode(["MULTISET", pairs])) == (BadArgument, message)


def test_of_more_arguments_than_are_looked_at_the_sentence_names_the_syntax():
    commands = [["CLEAR", [b"k"] * KEYS_MAX]] * 10 + [["GET", b""]]
    message = "TRANSACTION: one of its arguments is invalid: the syntax is TRANSACTION conditions commands"
    assert catch_refusal(msgpack.encode(["TRANSACTION", [], commands])) == (BadArgument, message)
