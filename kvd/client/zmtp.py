"""ZMTP 3.1, the wire protocol of ZeroMQ, as a client speaks it. Pure: bytes come in and bytes go out.

A `Session` is one connection. It greets, runs the handshake of its mechanism, and then turns bytes into messages:

    greeting  ->  handshake commands (NULL here; CURVE in curve.py)  ->  messages, PING and PONG

The peer is kvd's ROUTER (commands) or XPUB (changes), so it is libzmq. The specification is ZeroMQ RFC 37/ZMTP.
There are no generators here: an interrupt that reaches a generator while it is being closed is lost.
"""

from collections.abc import Sequence
from typing import Protocol, cast

MORE, LONG, COMMAND = 1, 2, 4
FLAGS_KNOWN = MORE | LONG | COMMAND
SHORT_BYTES_MAX = 255
EMPTY_FRAME = b"\x01\x00"  # with MORE
# The start of a message of an empty frame and a body. The size of the body follows, in 1 or 8 bytes.
SHORT_MESSAGE, LONG_MESSAGE = EMPTY_FRAME + b"\x00", EMPTY_FRAME + b"\x02"
LARGE_BYTES = 64 * 1024  # a body of this size or more is copied as seldom as possible
PARTS_MAX = 8  # a reply has three frames at most

SIGNATURE = b"\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f"
GREETING_BYTES = 64
VERSION_BYTES = 12  # the signature and the version; the rest is sent after the peer's greeting has arrived
MECHANISM_BYTES = 20
MAJOR_VERSION_MIN = 3
DEALER, SUBSCRIBER = b"DEALER", b"SUB"


class ProtocolError(Exception):
    """The peer does not speak ZMTP as a kvd daemon does."""


class MechanismMismatch(ProtocolError):
    """One side requires keys (CURVE) and the other has none (NULL)."""


class KeyMismatch(ProtocolError):
    """A handshake with keys failed. A daemon that is ending causes the same error: try again before you believe it."""

    def __init__(self) -> None:
        super().__init__("the handshake failed: the daemon may have another key than we trust")


class Rejected(ProtocolError):
    """The peer ended the handshake with ERROR: it rejects this key."""


class Mechanism(Protocol):
    """How a connection is authenticated, and how its frames are encrypted."""

    name: bytes
    is_ready: bool

    def start(self) -> bytes:
        """Return the first handshake frame."""

    def on_command(self, command: bytes) -> bytes:
        """Process a handshake command; return the frame to send next, if any."""

    def seal(self, flags: int, body: bytes) -> bytes:
        """Return the frame that carries a body."""

    def open(self, flags: int, body: bytes) -> tuple[int, bytes]:
        """Return the flags and the body that a frame carries."""


class Null:
    """The mechanism without keys."""

    name = b"NULL"

    def __init__(self, socket_type: bytes) -> None:
        self.is_ready = False
        self._socket_type = socket_type

    def start(self) -> bytes:
        """Return READY with the socket type."""
        return command_frame(b"READY", metadata(self._socket_type))

    def on_command(self, command: bytes) -> bytes:
        """Process READY, the end of the handshake. Raises Rejected on ERROR."""
        if command.startswith(b"\x05ERROR"):
            raise Rejected(error_reason(command))
        if not command.startswith(b"\x05READY"):
            raise ProtocolError("the handshake command is neither READY nor ERROR")
        self.is_ready = True
        return b""

    def seal(self, flags: int, body: bytes) -> bytes:
        return frame(flags, body)

    def open(self, flags: int, body: bytes) -> tuple[int, bytes]:
        return flags, body


class FrameReader:
    """Splits a stream of bytes into frames. Its memory is the incomplete frame.

    A body that arrives in parts is joined as it arrives: copying 16 MiB at its end would take 10 ms at once.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._flags: int | None = None  # of the frame with an incomplete body
        self._body = bytearray()  # the received part of that body
        self._header = b""  # the received part of the next header
        self.missing_bytes = 0  # of the body

    @property
    def is_empty(self) -> bool:
        """Whether no part of a frame is here."""
        return self._flags is None and not self._header

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the flags and the body of each complete frame. Raises ProtocolError."""
        if self.missing_bytes > len(data):
            self._body += data
            self.missing_bytes -= len(data)
            return []
        if self._flags is not None:
            return self._end_body(self._flags, data)
        if self._header:
            data = self._header + data
            self._header = b""
        frames, end = self._split(data)
        if self.missing_bytes:
            self._body += memoryview(data)[end:]
        elif end < len(data):
            self._header = data[end:]
        return frames

    def _end_body(self, flags: int, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frame that these bytes complete, and those after it."""
        end, body = self.missing_bytes, self._body
        body += memoryview(data)[:end]
        self._flags, self._body, self.missing_bytes = None, bytearray(), 0
        is_copied = flags & MORE or len(body) < LARGE_BYTES
        frames: list[tuple[int, bytes]] = [(flags, bytes(body) if is_copied else cast("bytes", body))]
        return [*frames, *self.feed(data[end:])] if end < len(data) else frames

    def _split(self, data: bytes) -> tuple[list[tuple[int, bytes]], int]:
        """Return the complete frames, and the offset of the incomplete one: of its body, or else of its header."""
        frames: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while at + 2 <= size:
            flags = data[at]
            if flags & LONG:
                if at + 9 > size:
                    break
                start = at + 9
                end = start + int.from_bytes(data[at + 1 : start], "big")
            else:
                start = at + 2
                end = start + data[at + 1]
            if flags > FLAGS_KNOWN or flags & (COMMAND | MORE) == COMMAND | MORE or end - start > self._frame_bytes_max:
                raise ProtocolError(f"a frame has the flags {flags:#04x} and {end - start} bytes")
            if end > size:
                self._flags, self.missing_bytes = flags, end - size
                return frames, start
            frames.append((flags, data[start:end]))
            at = end
        return frames, at


class Session:
    """One connection, from the greeting on. `outgoing` collects the bytes to send.

    The `topics` of a subscriber are subscribed, in their order, as soon as the handshake is complete.
    """

    def __init__(self, mechanism: Mechanism, frame_bytes_max: int, topics: Sequence[bytes] = ()) -> None:
        self.outgoing = bytearray(make_greeting(mechanism.name)[:VERSION_BYTES])
        self.mechanism = mechanism
        self.is_open = False
        self.reader = FrameReader(frame_bytes_max)
        self._frame_bytes_max = frame_bytes_max
        self._is_plain = mechanism.name == b"NULL"
        self._topics = topics
        self._greeting = b""
        self._parts: list[bytes] = []

    @property
    def is_between_messages(self) -> bool:
        """Whether no part of a message is here."""
        return self.reader.is_empty and not self._parts

    def take_outgoing(self) -> bytes:
        """Return the bytes to send, and forget them."""
        data = bytes(self.outgoing)
        self.outgoing.clear()
        return data

    def receive(self, data: bytes) -> list[list[bytes]]:
        """Return the messages that are complete, each as its frames. Raises ProtocolError."""
        if len(self._greeting) < GREETING_BYTES:
            data = self._greet(data)
        if not data:
            return []
        messages: list[list[bytes]] = []
        if self._is_plain and self.is_open and self.is_between_messages:
            messages, end = split_messages(data, self._frame_bytes_max)
            data = data[end:]
        for flags, body in self.reader.feed(data):
            if self.is_open:
                self._take_frame(flags, body, messages)
            else:
                self._shake_hands(flags, body)
        return messages

    def on_end(self) -> None:
        """Process the peer's end of the connection. Raises ProtocolError during the handshake."""
        if self.is_open:
            return
        if self.mechanism.name != b"NULL" and len(self._greeting) >= GREETING_BYTES:
            raise KeyMismatch
        raise ProtocolError("it ends the handshake, as the endpoint of --publish does")

    def pack(self, *parts: bytes) -> bytes:
        """Return a message as bytes to send."""
        last = len(parts) - 1
        seal = self.mechanism.seal
        if self._is_plain and len(parts[last]) >= LARGE_BYTES:
            return b"".join(
                [*[frame(MORE, part) for part in parts[:last]], _frame_header(0, len(parts[last])), parts[last]]
            )
        return b"".join([seal(MORE if at < last else 0, part) for at, part in enumerate(parts)])

    def _greet(self, data: bytes) -> bytes:
        """Process the peer's greeting; return the bytes after it. Raises ProtocolError."""
        self._greeting += data
        _check_greeting(self._greeting, self.mechanism.name)
        if len(self._greeting) < GREETING_BYTES:
            return b""
        rest = self._greeting[GREETING_BYTES:]
        self._greeting = self._greeting[:GREETING_BYTES]
        self.outgoing += make_greeting(self.mechanism.name)[VERSION_BYTES:]
        self.outgoing += self.mechanism.start()
        return rest

    def _shake_hands(self, flags: int, body: bytes) -> None:
        """Process a frame of the handshake. Raises ProtocolError."""
        if not flags & COMMAND:
            raise ProtocolError("a message came before the end of the handshake")
        self.outgoing += self.mechanism.on_command(body)
        if self.mechanism.is_ready:
            self.is_open = True
            for topic in self._topics:
                self.outgoing += self.mechanism.seal(COMMAND, b"\x09SUBSCRIBE" + topic)

    def _take_frame(self, flags: int, body: bytes, messages: list[list[bytes]]) -> None:
        """Process a frame of an open connection. Raises ProtocolError."""
        flags, body = self.mechanism.open(flags, body)
        if flags & COMMAND:
            self._on_command(body)
            return
        self._parts.append(body)
        if len(self._parts) > PARTS_MAX:
            raise ProtocolError(f"a message has more than {PARTS_MAX} frames")
        if not flags & MORE:
            messages.append(self._parts)
            self._parts = []

    def _on_command(self, command: bytes) -> None:
        """Answer PING with PONG and its context. A client ignores other commands."""
        if command.startswith(b"\x04PING"):
            self.outgoing += self.mechanism.seal(COMMAND, b"\x04PONG" + command[7:23])


def split_messages(data: bytes, frame_bytes_max: int) -> tuple[list[list[bytes]], int]:
    """Return the messages of an empty frame and a body at the start of the data, and where they end.

    Most replies are such messages. This loop takes 0.3 us for each; frame by frame they take 0.8 us.
    """
    messages: list[list[bytes]] = []
    at, size = 0, len(data)
    while True:
        kind = data[at : at + 3]
        if kind == SHORT_MESSAGE and at + 4 <= size:
            start = at + 4
            end = start + data[at + 3]
        elif kind == LONG_MESSAGE and at + 11 <= size:
            start = at + 11
            end = start + int.from_bytes(data[at + 3 : start], "big")
        else:
            return messages, at
        if end > size or end - start > frame_bytes_max:
            return messages, at
        messages.append([b"", data[start:end]])
        at = end


def make_greeting(mechanism: bytes) -> bytes:
    """Return the 64 bytes of a client's greeting."""
    return (SIGNATURE + b"\x03\x01" + mechanism.ljust(MECHANISM_BYTES, b"\0")).ljust(GREETING_BYTES, b"\0")


def _check_greeting(start: bytes, mechanism: bytes) -> None:
    """Raise ProtocolError when a greeting, as far as received, is not that of a peer with this mechanism."""
    if start[:1] != b"\xff" or (len(start) >= len(SIGNATURE) and start[9:10] != b"\x7f"):
        raise ProtocolError("the peer does not speak ZeroMQ")
    if len(start) > len(SIGNATURE) and start[10] < MAJOR_VERSION_MIN:
        raise ProtocolError(f"the peer speaks ZMTP {start[10]}; version 3 is needed")
    if len(start) < GREETING_BYTES:
        return
    theirs = start[VERSION_BYTES : VERSION_BYTES + MECHANISM_BYTES].rstrip(b"\0")
    if theirs == mechanism:
        return
    if theirs == b"CURVE":
        raise MechanismMismatch("the daemon requires keys")
    if theirs == b"NULL":
        raise MechanismMismatch("the daemon does not use keys: connect without them")
    raise ProtocolError(f"the peer requires the mechanism {theirs!r}")


def frame(flags: int, body: bytes) -> bytes:
    size = len(body)
    if size <= SHORT_BYTES_MAX:
        return bytes((flags, size)) + body
    return _frame_header(flags, size) + body


def _frame_header(flags: int, size: int) -> bytes:
    """Return the header of a long frame."""
    return bytes((flags | LONG,)) + size.to_bytes(8, "big")


def command_frame(name: bytes, body: bytes) -> bytes:
    return frame(COMMAND, bytes((len(name),)) + name + body)


def metadata(socket_type: bytes) -> bytes:
    """Return the properties of READY and INITIATE."""
    return _property(b"Socket-Type", socket_type) + _property(b"Identity", b"")


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def error_reason(command: bytes) -> str:
    """Return the reason in an ERROR command."""
    return command[7:].decode("ascii", "replace")
