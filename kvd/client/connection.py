"""One blocking connection to a daemon's command socket, owned by one caller at a time.

After an error, a deadline or an interrupt at any bytecode, a connection is closed and never used again. This rule makes
Ctrl-C safe: no part of an interrupted exchange can be read or sent later.

The bytes that the kernel has taken decide whether a command may have been executed. The daemon runs a command when its
last byte has arrived; until the kernel has taken that byte, the command has not been sent.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Sequence
from typing import Self

from kvd.client.endpoints import Address
from kvd.client.keys import Keys
from kvd.client.readiness import input_check, wait_for_both
from kvd.client.zmtp import (
    DEALER,
    EMPTY_FRAME,
    MORE,
    SHORT_BYTES_MAX,
    SHORT_MESSAGE,
    Null,
    ProtocolError,
    Session,
    frame,
)
from kvd.limits import FRAME_BYTES_MAX, SUBSCRIBER_DEAD_MS

# Set on each send: a broken connection then raises an error, and SIGPIPE does not end a program that kept its default
# action, as filters do. macOS has no such flag.
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
# The daemon sends PING each second in all circumstances: this much silence before a reply means a dead peer.
SILENCE_S = SUBSCRIBER_DEAD_MS / 1000
RECEIVED_BYTES = 256 * 1024
SMALL_REQUEST_BYTES = 64 * 1024
REQUEST_ENVELOPE = EMPTY_FRAME  # requests go one at a time, so replies need no number
_SHORT_STARTS = [SHORT_MESSAGE + bytes((size,)) for size in range(SHORT_BYTES_MAX + 1)]  # by the size of the body
_IDLE_READS_MAX = 64  # after more unexpected reads the peer is not a daemon that pings each second
_SOCKET_PACKAGES = ("kvd", "socket", "gevent", "eventlet")


class ConnectionLost(Exception):
    """The connection broke. `sent_bytes`: how much of the last send the kernel had taken; None: all of it."""

    def __init__(self, reason: str, sent_bytes: int | None = None) -> None:
        super().__init__(reason)
        self.sent_bytes = sent_bytes


class DeadlineExceeded(Exception):
    """No reply came in time."""


class Connection:
    """A connected socket and its ZMTP session. `Connection.open` makes one."""

    __slots__ = ("_has_input", "_is_plain", "_session", "_socket", "_timeout_s", "endpoint", "idle_since")

    def __init__(self, sock: socket.socket, session: Session, endpoint: str) -> None:
        self._socket = sock
        self._session = session
        self._timeout_s: float | None = -1.0
        self._is_plain = session.mechanism.name == b"NULL"
        self._has_input = input_check(sock.fileno())
        self.endpoint = endpoint
        self.idle_since = 0.0  # on the monotonic clock; set by the pool

    @classmethod
    def open(cls, address: Address, endpoint: str, keys: Keys | None, until: float) -> Self:
        """Connect and shake hands by `until`, on the monotonic clock. Raises OSError, ProtocolError."""
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(0.001, until - time.monotonic()))
            sock.connect(address.target)
            set_options(sock)
            session = make_session(keys)
            _shake_hands(sock, session, until)
            return cls(sock, session, endpoint)
        except BaseException:
            sock.close()
            raise

    def is_fresh(self) -> bool:
        """Return whether the connection stands and nothing unexpected arrived; answer the PINGs of the idle time."""
        try:
            for _ in range(_IDLE_READS_MAX):
                if not self._has_input():
                    return self._session.is_between_messages
                self._set_timeout(0.0)  # do not wait for a peer that pings and does not read
                if self._take_in(self._socket.recv(RECEIVED_BYTES)):
                    return False
        except OSError as error:
            reraise_foreign(error)
        except (ProtocolError, ConnectionLost):
            pass
        return False

    def exchange(self, body: bytes, until: float) -> bytes:
        """Send one command and return its reply. Raises ConnectionLost, DeadlineExceeded.

        `until` is on the monotonic clock. `body` and the reply are without ZMTP's frames.
        """
        request = REQUEST_ENVELOPE + frame(0, body) if self._is_plain else self._session.pack(b"", body)
        if len(request) <= SMALL_REQUEST_BYTES:
            self._send_small(request)
        else:
            self._send_large(request, until)
        data = self._receive(until)
        if self._is_plain and data[:3] == SHORT_MESSAGE and len(data) > len(SHORT_MESSAGE) and data[3] == len(data) - 4:
            return data[4:]  # exactly one short reply
        messages = self._take_in(data)
        while not messages:
            messages = self._take_in(self._receive(until))
        if len(messages) > 1:
            raise ConnectionLost("more than one reply came")
        return messages[0][-1]

    def fileno(self) -> int:
        return self._socket.fileno()

    def start(self, body: bytes) -> None:
        """Send one command; `receive_available` returns its reply. Raises ConnectionLost."""
        self._send_small(REQUEST_ENVELOPE + frame(0, body) if self._is_plain else self._session.pack(b"", body))

    def receive_available(self) -> list[list[bytes]]:
        """Return the replies in one read of a readable connection: none if it brought only a PING."""
        return self._take_in(self._receive(time.monotonic() + SILENCE_S))

    def transfer(self, data: bytes, until: float, on_replies: Callable[[list[list[bytes]]], None]) -> None:
        """Send packed requests; give replies that arrive meanwhile to `on_replies`. Raises as `exchange`.

        Both directions are served, so that large replies cannot block large requests. PINGs are answered afterwards: an
        answer within a request would become part of it.
        """
        view, sent = memoryview(data), 0
        while sent < len(view):
            readable, writable = wait_for_both(self._socket.fileno(), min(SILENCE_S, until - time.monotonic()))
            if not (readable or writable):
                raise ConnectionLost("the daemon took nothing more", sent)
            try:
                if readable and (replies := self._parse(self._receive(until))):
                    on_replies(replies)
                if writable:
                    sent += self._socket.send(view[sent : sent + RECEIVED_BYTES], NO_SIGNAL)
            except ConnectionLost as lost:
                raise ConnectionLost(str(lost), sent) from lost
            except OSError as error:
                reraise_foreign(error)
                raise ConnectionLost(reason_of(error), sent) from error
        self._answer_pings(must_stand=True)

    def receive(self, until: float) -> list[list[bytes]]:
        """Return one or more replies, each as its frames. Raises as `exchange`."""
        while True:
            messages = self._take_in(self._receive(until))
            if messages:
                return messages

    def pack_requests(self, requests: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Return requests, each (number, body), as bytes to send. An empty number is left out."""
        if self._is_plain:
            return [
                _SHORT_STARTS[len(body)] + body
                if len(body) <= SHORT_BYTES_MAX and not number
                else (frame(MORE, number) if number else b"") + REQUEST_ENVELOPE + frame(0, body)
                for number, body in requests
            ]
        pack = self._session.pack
        return [pack(number, b"", body) if number else pack(b"", body) for number, body in requests]

    def close(self) -> None:
        """Close the descriptor without shutdown(2): a forked child may hold a copy of its parent's connection."""
        self._socket.close()

    def __del__(self) -> None:
        """Close a connection that an interrupt left behind."""
        with contextlib.suppress(AttributeError):
            self._socket.close()

    def _send_small(self, request: bytes) -> None:
        """Send a request that fits into the kernel's buffer."""
        self._set_timeout(SILENCE_S)
        try:
            self._socket.sendall(request, NO_SIGNAL)
        except OSError as error:
            reraise_foreign(error)
            raise ConnectionLost(reason_of(error), 0) from error

    def _send_large(self, request: bytes, until: float) -> None:
        """Send a request in parts. It may take long; only silence fails it."""
        view, sent = memoryview(request), 0
        while sent < len(view):
            self._set_timeout(max(0.001, min(SILENCE_S, until - time.monotonic())))
            try:
                sent += self._socket.send(view[sent : sent + RECEIVED_BYTES * 4], NO_SIGNAL)
            except OSError as error:
                reraise_foreign(error)
                raise ConnectionLost(reason_of(error), sent) from error

    def _receive(self, until: float) -> bytes:
        """Return some bytes. Raises ConnectionLost, DeadlineExceeded."""
        left = until - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        self._set_timeout(min(left, SILENCE_S))
        try:
            data = self._socket.recv(max(RECEIVED_BYTES, min(self._session.reader.missing_bytes, 4 * RECEIVED_BYTES)))
        except TimeoutError as error:
            reraise_foreign(error)
            if left <= SILENCE_S:
                raise DeadlineExceeded from None
            raise ConnectionLost(f"the daemon was silent for {SILENCE_S:g} s") from None
        except OSError as error:
            reraise_foreign(error)
            raise ConnectionLost(reason_of(error)) from error
        if not data:
            raise ConnectionLost("the daemon closed the connection")
        return data

    def _take_in(self, data: bytes) -> list[list[bytes]]:
        """Answer PINGs and return the messages that `data` completes. Raises ConnectionLost."""
        messages = self._parse(data)
        if self._session.outgoing:
            self._answer_pings(must_stand=not messages)
        return messages

    def _parse(self, data: bytes) -> list[list[bytes]]:
        """Return the messages that `data` completes. Raises ConnectionLost."""
        if not data:
            raise ConnectionLost("the daemon closed the connection")
        try:
            return self._session.receive(data)
        except ProtocolError as error:
            raise ConnectionLost(str(error)) from error

    def _answer_pings(self, *, must_stand: bool) -> None:
        """Send PONGs, if any are due. A failure raises ConnectionLost if `must_stand`, or else at the next use."""
        if not self._session.outgoing:
            return
        try:
            self._socket.sendall(self._session.take_outgoing(), NO_SIGNAL)
        except OSError as error:
            reraise_foreign(error)
            self.close()
            if must_stand:
                raise ConnectionLost(reason_of(error)) from error

    def _set_timeout(self, seconds: float) -> None:
        """Set the socket's timeout if it differs: each change is a system call."""
        if seconds != self._timeout_s:
            self._socket.settimeout(seconds)
            self._timeout_s = seconds


def make_session(keys: Keys | None, socket_type: bytes = DEALER, topics: tuple[bytes, ...] = ()) -> Session:
    if keys is None:
        return Session(Null(socket_type), FRAME_BYTES_MAX, topics)
    from kvd.client.curve import Curve  # noqa: PLC0415  # PyNaCl takes 20 ms to import; clients without keys skip it

    return Session(Curve(socket_type, keys), FRAME_BYTES_MAX, topics)


def set_options(sock: socket.socket) -> None:
    """Send small messages at once, and let the kernel detect a dead peer of an idle connection."""
    if sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def reason_of(error: OSError) -> str:
    """Return the system's text for an error; for a name that does not resolve, say so."""
    if isinstance(error, socket.gaierror):
        return f"the name is not found: {error.strerror or error}"
    return error.strerror or str(error)


def reraise_foreign(error: OSError) -> None:
    """Raise an error again that a signal handler raised, not a socket: many handlers raise TimeoutError.

    The bytes that the kernel had taken are then unknown, so it must not count as an error of the connection.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _SOCKET_PACKAGES:
        raise error


def _shake_hands(sock: socket.socket, session: Session, until: float) -> None:
    """Greet and shake hands. Raises OSError, ProtocolError."""
    while True:
        if session.outgoing:
            sock.sendall(session.take_outgoing(), NO_SIGNAL)
        if session.is_open:
            return
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
        sock.settimeout(left)
        data = sock.recv(RECEIVED_BYTES)
        if not data:
            session.on_end()
        session.receive(data)
