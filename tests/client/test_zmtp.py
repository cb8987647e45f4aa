"""ZMTP without a socket: however a stream of bytes is cut, it has the same messages, and nonsense is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from support.peers import GREETING, READY, frame, message, ping

from kvd.client.zmtp import (
    COMMAND,
    DEALER,
    LARGE_BYTES,
    LONG,
    MORE,
    PARTS_MAX,
    SUBSCRIBER,
    FrameReader,
    MechanismMismatch,
    Null,
    ProtocolError,
    Rejected,
    Session,
    error_reason,
    make_greeting,
    split_messages,
)
from kvd.client.zmtp import frame as our_frame

FRAME_BYTES_MAX = 1000
PARTS = [slice(1), slice(2), slice(3), slice(-1)]  # of a message that has not come as a whole
PONG = b"\x04PONG"


def open_session(*topics):
    """Return a session with its handshake done."""
    session = Session(Null(SUBSCRIBER if topics else DEALER), FRAME_BYTES_MAX, topics)
    assert session.receive(GREETING + READY) == []
    assert session.is_open
    session.take_outgoing()
    return session


def cut(data, places):
    """Return bytes cut at some places."""
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True) if start < end]


bodies = some.binary(max_size=300)
replies = bodies.map(lambda body: [b"", body])
streams = some.lists(some.one_of(some.lists(bodies, min_size=1, max_size=3), replies, some.just("PING")), max_size=8)


@settings(max_examples=50)
@given(streams, some.lists(some.integers(0, 5000), max_size=12))
def test_any_cut_of_a_stream_gives_the_same_messages(stream, places):
    data = GREETING + READY + b"".join([ping(b"context") if each == "PING" else message(*each) for each in stream])
    session = Session(Null(DEALER), FRAME_BYTES_MAX)
    found = [each for chunk in cut(data, places) for each in session.receive(chunk)]
    assert found == [each for each in stream if each != "PING"]
    sent = session.take_outgoing()
    assert sent.count(PONG + b"context") == stream.count("PING")
    assert session.is_between_messages
    assert session.take_outgoing() == b""


@given(some.binary(max_size=400), some.lists(some.integers(0, 400), max_size=6), some.booleans())
def test_any_bytes_are_messages_or_a_protocol_error(data, places, is_open):
    session = open_session() if is_open else Session(Null(DEALER), FRAME_BYTES_MAX)
    try:
        for chunk in cut(data, places):
            session.receive(chunk)
    except ProtocolError:
        pass
    else:
        assert session.reader.missing_bytes <= FRAME_BYTES_MAX


@pytest.mark.parametrize("size", [0, 1, 255, 256, FRAME_BYTES_MAX])
def test_a_frame_is_short_up_to_255_bytes(size):
    body = b"x" * size
    assert our_frame(MORE, body) == frame(MORE, body)
    assert len(frame(0, body)) - size == (2 if size <= 255 else 9)  # as RFC 37 has it
    reader = FrameReader(FRAME_BYTES_MAX)
    data = frame(0, body)
    assert reader.feed(data[:-1]) == []
    assert not reader.is_empty
    assert reader.feed(data[-1:]) == [(LONG if size > 255 else 0, body)]
    assert reader.is_empty


@pytest.mark.parametrize("size", [0, 1, 255, 256, FRAME_BYTES_MAX])
def test_messages_of_an_empty_frame_and_a_body_are_split_up_to_the_first_that_is_something_else(size):
    reply = message(b"", b"x" * size)
    for rest in [b"", ping(b"context"), message(b"number", b"", b"y"), message(b"y"), *map(reply.__getitem__, PARTS)]:
        assert split_messages(reply * 2 + rest, FRAME_BYTES_MAX) == ([[b"", b"x" * size]] * 2, 2 * len(reply))


@pytest.mark.parametrize("size", [100, 300])
def test_a_message_of_an_empty_frame_and_a_body_beyond_the_limit_is_refused(size):
    assert split_messages(message(b"", b"x" * size), size - 1) == ([], 0)
    with pytest.raises(ProtocolError):
        open_session().receive(message(b"", b"x" * (FRAME_BYTES_MAX + 1)))


def test_what_is_missing_is_known_as_soon_as_the_length_is_here():
    reader = FrameReader(FRAME_BYTES_MAX)
    data = frame(0, b"x" * 700)
    assert reader.feed(data[:8]) == []
    assert reader.missing_bytes == 0
    assert reader.feed(data[8:100]) == []
    assert reader.missing_bytes == len(data) - 100
    assert reader.feed(data[100:200]) == []
    assert reader.missing_bytes == len(data) - 200
    assert reader.feed(data[200:]) == [(LONG, b"x" * 700)]
    assert reader.missing_bytes == 0


def test_a_large_frame_is_put_together_as_it_comes():
    """To join 16 MiB at its end would hold up an event loop for 10 ms."""
    reader = FrameReader(2**24)
    reader.feed(b"\x02" + (2**24).to_bytes(8, "big"))
    for _ in range(255):
        assert reader.feed(bytes(64 * 1024)) == []
    body = reader._body
    ((flags, received),) = reader.feed(bytes(64 * 1024))
    assert (flags, received) == (LONG, bytes(2**24))
    assert received is body


@pytest.mark.parametrize("size", [LARGE_BYTES - 1, LARGE_BYTES, 2**20])
def test_frames_that_come_in_parts_are_bytes_unless_they_are_large_and_the_last(size):
    for flags in (MORE, 0):
        reader = FrameReader(2**24)
        data = frame(flags, b"x" * size) + frame(0, b"next")
        assert reader.feed(data[:1_000]) == []
        (found, body), following = reader.feed(data[1_000:])
        assert (found, body, following) == (LONG | flags, b"x" * size, (0, b"next"))
        assert isinstance(body, bytes) == (flags == MORE or size < LARGE_BYTES)
        assert reader.is_empty


@pytest.mark.parametrize("size", [0, 255, 256, LARGE_BYTES - 1, LARGE_BYTES, 2**20])
def test_a_message_is_packed_as_its_frames(size):
    body = b"x" * size
    assert open_session().pack(b"number", b"", body) == message(b"number", b"", body)
    assert open_session().pack(b"", body) == message(b"", body)


def test_two_frames_and_a_part_come_at_once():
    reader = FrameReader(FRAME_BYTES_MAX)
    assert reader.feed(frame(0, b"a") + frame(MORE, b"b") + b"\0") == [(0, b"a"), (MORE, b"b")]
    assert reader.feed(b"\1c") == [(0, b"c")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x02" + (FRAME_BYTES_MAX + 1).to_bytes(8, "big"),
        b"\x02" + b"\xff" * 8,
        b"\x08\x00",
        b"\xff" + bytes(8),
        b"\x05\x00",  # a command of several frames
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_a_frame_beyond_the_limit_or_with_unknown_flags_is_refused(data):
    with pytest.raises(ProtocolError, match="a frame has the flags"):
        open_session().receive(data)


def test_a_message_without_end_is_refused():
    session = open_session()
    session.receive(frame(MORE, b"") * PARTS_MAX)
    assert not session.is_between_messages
    with pytest.raises(ProtocolError, match="more than 8 frames"):
        session.receive(frame(MORE, b""))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"H", "does not speak ZeroMQ"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak ZeroMQ"),
        (b"-ERR unknown command\r\n", "does not speak ZeroMQ"),
        (b"\xff" + bytes(8) + b"\x00", "does not speak ZeroMQ"),
        (b"\xff" + bytes(8) + b"\x7f\x01", "speaks ZMTP 1; version 3 is needed"),
        (GREETING.replace(b"NULL", b"PLAIN"), "requires the mechanism b'PLAIN'"),
    ],
)
def test_a_greeting_of_something_else_is_refused_as_early_as_can_be(data, reason):
    with pytest.raises(ProtocolError, match=reason):
        Session(Null(DEALER), FRAME_BYTES_MAX).receive(data)


def test_a_mechanism_that_does_not_fit_says_which_side_has_keys():
    with pytest.raises(MechanismMismatch, match="the daemon requires keys"):
        Session(Null(DEALER), FRAME_BYTES_MAX).receive(GREETING.replace(b"NULL\0", b"CURVE"))
    with_keys = Null(DEALER)
    with_keys.name = b"CURVE"
    with pytest.raises(MechanismMismatch, match="connect without them"):
        Session(with_keys, FRAME_BYTES_MAX).receive(GREETING)


def test_only_the_version_is_sent_before_the_peers_greeting():
    session = Session(Null(DEALER), FRAME_BYTES_MAX)
    assert session.take_outgoing() == make_greeting(b"NULL")[:12]
    session.receive(GREETING[:63])
    assert session.take_outgoing() == b""
    session.receive(GREETING[63:])
    ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
    assert session.take_outgoing() == make_greeting(b"NULL")[12:] + frame(COMMAND, ready)


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (frame(COMMAND, b"\x05ERROR\x03400"), Rejected, "400"),
        (frame(COMMAND, b"\x05ERROR\x03\xff\xfe\xfd"), Rejected, "\ufffd"),
        (frame(COMMAND, b"\x05ERROR"), Rejected, "^$"),
        (frame(COMMAND, b"\x05HELLO"), ProtocolError, "neither READY nor ERROR"),
        (ping(), ProtocolError, "neither READY nor ERROR"),
        (message(b"hello"), ProtocolError, "before the end of the handshake"),
    ],
)
def test_a_handshake_that_does_not_end_in_ready_is_refused(data, error, reason):
    session = Session(Null(DEALER), FRAME_BYTES_MAX)
    with pytest.raises(error, match=reason):
        session.receive(GREETING + data)
    assert not session.is_open


def test_the_reason_of_an_error_is_its_text():
    assert error_reason(b"\x05ERROR\x03400") == "400"


def test_a_ping_is_answered_with_its_context_and_other_commands_with_nothing():
    session = open_session()
    assert session.receive(ping(b"0123456789abcdef and more") + frame(COMMAND, b"\x04PONG") + frame(COMMAND, b"")) == []
    assert session.take_outgoing() == frame(COMMAND, PONG + b"0123456789abcdef")


def test_topics_are_subscribed_in_their_order():
    session = Session(Null(SUBSCRIBER), FRAME_BYTES_MAX, (b"k:a", b"c"))
    session.receive(GREETING + READY)
    expected = frame(COMMAND, b"\x09SUBSCRIBEk:a") + frame(COMMAND, b"\x09SUBSCRIBEc")
    assert session.take_outgoing().endswith(expected)


def test_a_message_is_packed_as_frames():
    assert open_session().pack(b"number", b"", b"body") == message(b"number", b"", b"body")
