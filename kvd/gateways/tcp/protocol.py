"""The protocol of the TCP gateway: bytes to commands, and results to bytes. Pure; no I/O and no clock.

    request:  u8 0, u16 number, strings       0 GET key, 1 SET key value, 2 CLEAR key, 3 PING text
    reply:    u8 0, u8 status, string         status 0: done, 1: not done, and the string is the reason
    string:   u32 length, bytes               all integers are big-endian

It is the protocol of a tutorial about building a store. The tutorial's text and its program differ: WIDE is the text's
form, with the number as u32 and the characters 0 and 1 as status; NARROW is the program's.
"""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from kvd.commands.base import Error, Ok
from kvd.commands.server import Ping
from kvd.commands.values import Get, Set, Take
from kvd.errors import ClientError, KvdError
from kvd.limits import KEY_BYTES_MAX, PING_BYTES_MAX, VALUE_BYTES_MAX

Request = Get | Set | Take | Ping
LENGTH = Struct(">I")
REPLY_HEAD = Struct(">BBI")
NOT_FOUND = b"Key not found"


class Malformed(KvdError):
    """The input is not a request, so the start of the next request is unknown."""


class Dialect(NamedTuple):
    """One of the two forms of the protocol."""

    head: Struct
    done: int
    failed: int


NARROW = Dialect(Struct(">BH"), 0, 1)
WIDE = Dialect(Struct(">BI"), ord("0"), ord("1"))
DIALECTS = {"u16": NARROW, "u32": WIDE}


class RequestSpec(NamedTuple):
    """A kind of request: its name, the names and maximum lengths of its strings, and the constructor."""

    name: str
    strings: tuple[tuple[str, int], ...]
    make: Callable[..., Request]


SPECS = (
    RequestSpec("GET", (("key", KEY_BYTES_MAX),), Get),
    RequestSpec("SET", (("key", KEY_BYTES_MAX), ("value", VALUE_BYTES_MAX)), Set),
    RequestSpec("CLEAR", (("key", KEY_BYTES_MAX),), Take),
    RequestSpec("PING", (("text", PING_BYTES_MAX),), lambda text: Ping(text or None)),
)


class Parser:
    """Parses the input of one connection. `string_bytes` is the length of the string that is incomplete."""

    __slots__ = ("_at", "_data", "_head", "_specs", "string_bytes")

    def __init__(self, dialect: Dialect) -> None:
        self._head = dialect.head
        self._specs = {dialect.head.pack(0, number): spec for number, spec in enumerate(SPECS)}
        self._data: bytes | bytearray = b""
        self._at = 0
        self.string_bytes = 0

    @property
    def has_partial(self) -> bool:
        """Return whether there are bytes that no returned request includes."""
        return self._at < len(self._data)

    def feed(self, data: bytes) -> None:
        """Append received bytes."""
        if self._at == len(self._data):
            self._data, self._at = data, 0  # the usual case: nothing is copied
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self._data)
        del self._data[: self._at]
        self._data += data
        self._at = 0

    def next_request(self) -> Request | None:
        """Return the next request, None if it is incomplete. Raises Malformed as soon as it cannot become valid."""
        data, at, end = self._data, self._at, len(self._data)
        if at == end:
            return None
        start = at + self._head.size
        prefix = bytes(data[at:start])
        spec, at = self._specs.get(prefix), start
        if spec is None:
            self._check_prefix(prefix)
            return None
        strings = []
        for name, bytes_max in spec.strings:
            if end - at < LENGTH.size:
                return None
            (length,) = LENGTH.unpack_from(data, at)
            if length > bytes_max:
                raise Malformed(f"the {name} of {spec.name} is {length} bytes; at most {bytes_max} are allowed")
            at += LENGTH.size
            if end - at < length:
                self.string_bytes = length
                return None
            strings.append(bytes(data[at : at + length]))
            at += length
        self._at, self.string_bytes = at, 0
        return spec.make(*strings)

    def _check_prefix(self, prefix: bytes) -> None:
        """Raise Malformed unless a request can begin with these bytes."""
        if any(each.startswith(prefix) for each in self._specs):
            return
        if prefix[0]:
            raise Malformed(f"a request must begin with the byte 0, not with {prefix[0]}")
        if len(prefix) < self._head.size:
            raise Malformed(f"the command's number is too large: the commands are 0 to {len(SPECS) - 1}")
        _, number = self._head.unpack(prefix)
        raise Malformed(f"there is no command {number}: the commands are 0 to {len(SPECS) - 1}")


def encode_request(dialect: Dialect, number: int, *strings: bytes) -> bytes:
    """Return a request as a client sends it."""
    return dialect.head.pack(0, number) + b"".join(LENGTH.pack(len(each)) + each for each in strings)


def encode_success(dialect: Dialect, text: bytes) -> bytes:
    """Return a reply with the status 0."""
    return REPLY_HEAD.pack(0, dialect.done, len(text)) + text


def encode_failure(dialect: Dialect, text: bytes) -> bytes:
    """Return a reply with the status 1."""
    return REPLY_HEAD.pack(0, dialect.failed, len(text)) + text


def encode_reply(dialect: Dialect, request: Request, outcome: Ok | Error | ClientError) -> bytes:
    """Return the reply for the outcome of a request."""
    if isinstance(outcome, Error):
        return encode_failure(dialect, f"{outcome.code}: {outcome.message}".encode())
    if isinstance(outcome, ClientError):
        return encode_failure(dialect, outcome.message.encode())
    if isinstance(request, Set):
        return encode_success(dialect, request.key)
    if outcome.result is None:
        return encode_failure(dialect, NOT_FOUND) if isinstance(request, Get) else encode_success(dialect, b"")
    return encode_success(dialect, outcome.result)
