"""The protocol of the TCP gateway: bytes to commands, and results to bytes. Pure; no I/O and no clock.

    request:  u8 0, u16 number, strings       0 GET key, 1 SET key value, 2 CLEAR key, 3 PING text
    reply:    u8 0, u8 status, string         status 0: done, 1: not, and the string says why
    string:   u32 length, bytes               big-endian all of it

It is that of a chronicle of building a store, whose text and whose program disagree: WIDE is the text's form, the
number as u32 and the status as the characters 0 and 1; NARROW is the program's.
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
    """What came is no request: where the next one would begin is not known."""


class Dialect(NamedTuple):
    """One of the two forms."""

    head: Struct
    done: int
    failed: int


NARROW = Dialect(Struct(">BH"), 0, 1)
WIDE = Dialect(Struct(">BI"), ord("0"), ord("1"))
WIDTHS = {"u16": NARROW, "u32": WIDE}


class RequestSpec(NamedTuple):
    """What a request consists of: its name, its strings with the most bytes of each, and the command."""

    name: str
    strings: tuple[tuple[str, int], ...]
    make: Callable[..., Request]


FORMS = (
    RequestSpec("GET", (("key", KEY_BYTES_MAX),), Get),
    RequestSpec("SET", (("key", KEY_BYTES_MAX), ("value", VALUE_BYTES_MAX)), Set),
    RequestSpec("CLEAR", (("key", KEY_BYTES_MAX),), Take),
    RequestSpec("PING", (("text", PING_BYTES_MAX),), lambda text: Ping(text or None)),
)


class Parser:
    """What has come of one connection. `wanted` is how long the string is that has not come whole yet."""

    def __init__(self, width: Dialect) -> None:
        self.head = width.head
        self.forms = {self.head.pack(0, number): form for number, form in enumerate(FORMS)}
        self.data: bytes | bytearray = b""
        self.at = 0
        self.wanted = 0

    @property
    def has_partial(self) -> bool:
        """Return whether something is there that has not been returned yet."""
        return self.at < len(self.data)

    def feed(self, data: bytes) -> None:
        """Take in what came."""
        if self.at == len(self.data):
            self.data, self.at = data, 0  # as it mostly is: nothing is copied
            return
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        del self.data[: self.at]
        self.data += data
        self.at = 0

    def take(self) -> Request | None:
        """Return the next request, None while it is not whole. Raises Malformed, as soon as that is certain."""
        data, at, end = self.data, self.at, len(self.data)
        if at == end:
            return None
        start = at + self.head.size
        beginning = bytes(data[at:start])
        form, at = self.forms.get(beginning), start
        if form is None:
            self._check_prefix(beginning)
            return None
        strings = []
        for name, most in form.strings:
            if end - at < LENGTH.size:
                return None
            (length,) = LENGTH.unpack_from(data, at)
            if length > most:
                raise Malformed(f"the {name} of {form.name} is {length} bytes; at most {most} are allowed")
            at += LENGTH.size
            if end - at < length:
                self.wanted = length
                return None
            strings.append(bytes(data[at : at + length]))
            at += length
        self.at, self.wanted = at, 0
        return form.make(*strings)

    def _check_prefix(self, beginning: bytes) -> None:
        """Raise Malformed unless a request may begin so."""
        if any(each.startswith(beginning) for each in self.forms):
            return
        if beginning[0]:
            raise Malformed(f"a request begins with the byte 0, not with {beginning[0]}")
        if len(beginning) < self.head.size:
            raise Malformed(f"there is no command with a number this large: they are 0 to {len(FORMS) - 1}")
        _, number = self.head.unpack(beginning)
        raise Malformed(f"there is no command {number}: they are 0 to {len(FORMS) - 1}")


def request_bytes(width: Dialect, number: int, *strings: bytes) -> bytes:
    """Return a request, as a client sends it."""
    return width.head.pack(0, number) + b"".join(LENGTH.pack(len(each)) + each for each in strings)


def done_frame(width: Dialect, text: bytes) -> bytes:
    """Return the reply of what was done."""
    return REPLY_HEAD.pack(0, width.done, len(text)) + text


def failed_frame(width: Dialect, text: bytes) -> bytes:
    """Return the reply of what was not."""
    return REPLY_HEAD.pack(0, width.failed, len(text)) + text


def reply(width: Dialect, request: Request, outcome: Ok | Error | ClientError) -> bytes:
    """Return the reply to a request of which this became."""
    if isinstance(outcome, Error):
        return failed_frame(width, f"{outcome.code}: {outcome.message}".encode())
    if isinstance(outcome, ClientError):
        return failed_frame(width, outcome.message.encode())
    if isinstance(request, Set):
        return done_frame(width, request.key)
    if outcome.result is None:
        return failed_frame(width, NOT_FOUND) if isinstance(request, Get) else done_frame(width, b"")
    return done_frame(width, outcome.result)
