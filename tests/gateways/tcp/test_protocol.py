"""The protocol of the TCP gateway without a socket: valid requests, malformed ones, and replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.commands.base import Error, Ok
from kvd.commands.server import Ping
from kvd.commands.values import Get, Set, Take
from kvd.errors import Unreachable
from kvd.gateways.tcp.protocol import NARROW, WIDE, Malformed, Parser, encode_failure, encode_reply, encode_request
from kvd.limits import KEY_BYTES_MAX, PING_BYTES_MAX, VALUE_BYTES_MAX

KEYS, VALUES = st.binary(max_size=40), st.binary(max_size=400)
REQUESTS = st.one_of(
    st.builds(Get, KEYS), st.builds(Set, KEYS, VALUES), st.builds(Take, KEYS), st.builds(Ping, VALUES.filter(len))
)
DIALECTS = st.sampled_from([NARROW, WIDE])


def encode(dialect, request) -> bytes:
    """Return a request as its client sends it."""
    if isinstance(request, Set):
        return encode_request(dialect, 1, request.key, request.value)
    if isinstance(request, Ping):
        return encode_request(dialect, 3, request.message or b"")
    return encode_request(dialect, 0 if isinstance(request, Get) else 2, request.key)


def parse_all(parser) -> list:
    requests = []
    while (request := parser.next_request()) is not None:
        requests.append(request)
    return requests


@given(DIALECTS, st.lists(REQUESTS, max_size=12), st.data())
def test_what_is_sent_is_what_is_taken_however_it_is_cut(dialect, requests, data):
    stream = b"".join(encode(dialect, request) for request in requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser, parsed = Parser(dialect), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if begin != end:
            parser.feed(stream[begin:end])
            parsed += parse_all(parser)
    assert parsed == requests
    assert not parser.has_partial


@given(DIALECTS, st.lists(st.binary(min_size=1, max_size=64), max_size=8))
def test_junk_is_malformed_or_incomplete_and_nothing_else(dialect, pieces):
    parser = Parser(dialect)
    try:
        for piece in pieces:
            parser.feed(piece)
            parse_all(parser)
    except Malformed:
        return
    assert parser.has_partial or parser.next_request() is None


@pytest.mark.parametrize("dialect", [NARROW, WIDE])
def test_the_bytes_are_those_of_the_chronicle(dialect):
    number = b"\0\1" if dialect is NARROW else b"\0\0\0\1"
    parser = Parser(dialect)
    parser.feed(b"\0" + number + b"\0\0\0\4city\0\0\0\5Surat")
    assert parse_all(parser) == [Set(b"city", b"Surat")]
    done, gone = (b"\0\0", b"\0\1") if dialect is NARROW else (b"\x000", b"\x001")
    assert encode_reply(dialect, Set(b"city", b"x"), Ok(1, None)) == done + b"\0\0\0\4city"
    assert encode_reply(dialect, Get(b"city"), Ok(1, None)) == gone + b"\0\0\0\rKey not found"


MALFORMED = [
    (b"\1", "a request must begin with the byte 0, not with 1"),
    (b"GET / HTTP/1.1\r\n\r\n", "a request must begin with the byte 0, not with 71"),
    (b"\0\1", "the command's number is too large: the commands are 0 to 3"),
    (b"\0\0\4", "there is no command 4: the commands are 0 to 3"),
    (b"\0\xff\xff", "there is no command 65535: the commands are 0 to 3"),
    (b"\0\0\0\0\0\x10\1", f"the key of GET is 4097 bytes; at most {KEY_BYTES_MAX} are allowed"),
    (b"\0\0\1\0\0\0\1k\1\0\0\1", f"the value of SET is 16777217 bytes; at most {VALUE_BYTES_MAX} are allowed"),
    (b"\0\0\2\xff\xff\xff\xff", f"the key of CLEAR is 4294967295 bytes; at most {KEY_BYTES_MAX} are allowed"),
    (b"\0\0\3\0\1\0\1", f"the text of PING is 65537 bytes; at most {PING_BYTES_MAX} are allowed"),
]


@pytest.mark.parametrize(("data", "reason"), MALFORMED)
def test_what_is_malformed_is_told_as_soon_as_it_is_certain(data, reason):
    parser = Parser(NARROW)
    parser.feed(data)
    with pytest.raises(Malformed) as caught:
        parser.next_request()
    assert str(caught.value) == reason


@pytest.mark.parametrize("bytes_max", [KEY_BYTES_MAX, VALUE_BYTES_MAX, PING_BYTES_MAX])
def test_a_string_of_the_most_bytes_is_waited_for(bytes_max):
    head = {KEY_BYTES_MAX: b"\0\0\0", VALUE_BYTES_MAX: b"\0\0\1\0\0\0\1k", PING_BYTES_MAX: b"\0\0\3"}[bytes_max]
    parser = Parser(NARROW)
    parser.feed(head + bytes_max.to_bytes(4, "big"))
    assert parser.next_request() is None
    assert parser.string_bytes == bytes_max


def test_an_empty_ping_asks_for_pong():
    parser = Parser(NARROW)
    parser.feed(encode_request(NARROW, 3, b""))
    assert parse_all(parser) == [Ping(None)]


REPLIES = [
    (Get(b"k"), Ok(7, b""), b"\0\0\0\0\0\0"),
    (Take(b"k"), Ok(7, None), b"\0\0\0\0\0\0"),
    (Take(b"k"), Ok(7, b"old"), b"\0\0\0\0\0\3old"),
    (Ping(), Ok(7, b"PONG"), b"\0\0\0\0\0\4PONG"),
    (Set(b"k", b"v"), Error("DENIED", "no", {}), encode_failure(NARROW, b"DENIED: no")),
    (Set(b"k", b"v"), Unreachable("SET: no daemon answers"), encode_failure(NARROW, b"SET: no daemon answers")),
]


@pytest.mark.parametrize(("request_", "outcome", "expected"), REPLIES)
def test_replies(request_, outcome, expected):
    assert encode_reply(NARROW, request_, outcome) == expected
