"""A non-blocking connection: for many commands in flight, for asyncio, and for the changes socket.

A `Channel` dials the given addresses in turn, runs the handshake, and then carries messages until it is lost. It never
redials: its owner decides when to open another channel.
"""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Sequence

from kvd.client.connection import NO_SIGNAL, RECEIVED_BYTES, SILENCE_S, reason_of, reraise_foreign, set_options
from kvd.client.endpoints import Address
from kvd.client.zmtp import ProtocolError, Session

_CONNECT_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK)
TURN_BYTES_MAX = 4 * 1024 * 1024  # read in one turn, before other connections get theirs
SENT_AT_ONCE_BYTES = 256 * 1024


class Channel:
    """One connection: `is_open` after the handshake, `is_lost` when it is gone. Times are on the monotonic clock."""

    def __init__(
        self,
        addresses: Sequence[Address],
        make_session: Callable[[], Session],
        *,
        attempt_s: float = SILENCE_S,
        receive_buffer_bytes: int | None = None,
        turn_bytes_max: int = TURN_BYTES_MAX,
    ) -> None:
        """Start to connect. Raises OSError when no descriptors are left."""
        # More attributes than most classes have: five arguments to dial with, six to send with, and the rest says what
        # happened. An object for the sending would cost each request a call.
        self.is_open = False
        self.is_lost = False
        self.is_connected = False  # a peer accepted the connection and has yet to shake hands
        self.problem: ProtocolError | None = None  # the handshake error of the last address
        self.failures: list[tuple[str, str]] = []  # (address, reason) of each failed attempt
        self.reason = ""  # why an open connection was lost
        self.sent_bytes = 0  # the bytes given to `send` that the kernel has taken
        self.heard_at = time.monotonic()
        self._before_close: Callable[[], None] | None = None
        self._addresses = list(addresses)
        self._make_session = make_session
        self._attempt_s = attempt_s
        self._receive_buffer_bytes = receive_buffer_bytes
        self._turn_bytes_max = turn_bytes_max
        self._socket: socket.socket | None = None
        self._large = memoryview(b"")  # sent before `_unsent`: the rest of a large message, not copied
        self._unsent = bytearray()
        self.queued_bytes = 0
        self._until = 0.0
        self._is_connecting = False
        self._is_busy = False  # within `send` or `advance`; if set at the next call, an interrupt ended the last one
        self._dial_next()

    def call_before_close(self, callback: Callable[[], None]) -> None:
        """Set the callback of an event loop, which must forget the descriptor before it is closed."""
        self._before_close = callback

    def restart_silence(self) -> None:
        """Count the time without a message from now on."""
        self.heard_at = time.monotonic()

    def fileno(self) -> int:
        """Return the descriptor to poll; -1 when the channel is lost."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def is_silent(self) -> bool:
        """Whether a peer accepted the connection and sent nothing: a daemon that hangs or is stopped."""
        return self.is_connected and not self.is_open and self.problem is None

    @property
    def wants_write(self) -> bool:
        """Whether `advance` is also due when the descriptor is writable."""
        return self._is_connecting or self._has_unsent

    @property
    def _has_unsent(self) -> bool:
        return bool(self._unsent or self._large)

    @property
    def due(self) -> float | None:
        """When to call `advance` even if the descriptor is not ready; None: never."""
        return None if self.is_open or self.is_lost else self._until

    def send(self, data: bytes) -> int:
        """Send packed messages: now what the kernel takes, the rest in `advance`.

        Returns the value of `sent_bytes` after the last byte is sent.
        """
        self._enter()
        self.queued_bytes += len(data)
        end = self.queued_bytes
        if self._has_unsent or self._socket is None:
            self._unsent += data
        else:
            self._send_now(self._socket, data)
        self._is_busy = False
        return end

    def _send_now(self, sock: socket.socket, data: bytes) -> None:
        """Send what the kernel takes; keep the rest."""
        try:
            sent = sock.send(data, NO_SIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            reraise_foreign(error)
            self._lose(reason_of(error))
            return
        self.sent_bytes += sent
        if len(data) - sent > SENT_AT_ONCE_BYTES:
            self._large = memoryview(data)[sent:]
        elif sent < len(data):
            self._unsent += memoryview(data)[sent:]

    def _enter(self) -> None:
        """Close a connection if an interrupt ended its last call half-way: bytes could be lost, or sent twice."""
        if self._is_busy:
            self._lose("a call was interrupted")
        self._is_busy = True

    def advance(self) -> list[list[bytes]]:
        """Dial, read and write without blocking; return the messages that arrived, including those before an error."""
        self._enter()
        messages: list[list[bytes]] = []
        try:
            if self._socket is not None and self._is_connected():
                self._take_in(messages)
                self._flush()
        except (OSError, ProtocolError) as error:
            if isinstance(error, OSError):
                reraise_foreign(error)
            self._on_error(error)
        self._is_busy = False
        return messages

    def close(self) -> None:
        self.is_lost = True
        self._drop_socket()

    def __del__(self) -> None:
        """Close the descriptor of a channel that was not closed."""
        with contextlib.suppress(Exception):
            if self._socket is not None:
                self._socket.close()

    def _dial_next(self) -> None:
        """Start to connect to the next address. The channel is lost when none is left."""
        while self._addresses:
            address = self._addresses.pop(0)
            self._label = address.label
            self._until = time.monotonic() + self._attempt_s
            self._socket = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                self._start_connect(address)
            except OSError as error:
                reraise_foreign(error)
                self.failures.append((address.label, reason_of(error)))
                self._drop_socket()
            else:
                return
        self.is_lost = True

    def _start_connect(self, address: Address) -> None:
        """Start to connect to an address. Raises OSError."""
        assert self._socket is not None
        self._socket.settimeout(0)
        if self._receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
        code = self._socket.connect_ex(address.target)
        if code and (code not in _CONNECT_UNDER_WAY or address.family == getattr(socket, "AF_UNIX", None)):
            raise OSError(code, os.strerror(code))
        set_options(self._socket)
        self.is_connected = False
        self.session = self._make_session()
        self._large = memoryview(b"")
        self._unsent.clear()
        self.queued_bytes = self.sent_bytes = 0
        self._is_connecting = True

    def _is_connected(self) -> bool:
        """Return whether the connection is established. Raises OSError."""
        if not self._is_connecting:
            return True
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            self._socket.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            self._check_time()
            return False
        self._is_connecting = False
        self.is_connected = True
        return True

    def _take_in(self, messages: list[list[bytes]]) -> None:
        """Add the messages that have arrived. Raises OSError, ProtocolError."""
        assert self._socket is not None
        received = 0
        while received < self._turn_bytes_max:
            size = max(RECEIVED_BYTES, min(self.session.reader.missing_bytes, TURN_BYTES_MAX))
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                break
            if not data:
                self.session.on_end()
                raise ConnectionResetError(errno.ECONNRESET, "the daemon closed the connection")
            received += len(data)
            messages += self.session.receive(data)
            if len(data) < size:
                break
        if received:
            self.heard_at = time.monotonic()
        if not self.is_open:
            self.is_open = self.session.is_open
            self._check_time()

    def _flush(self) -> None:
        """Send what is queued, as far as the kernel takes it. Raises OSError."""
        assert self._socket is not None
        if self.session.outgoing:
            data = self.session.take_outgoing()
            self.queued_bytes += len(data)
            self._unsent += data
        try:
            while self._large:
                sent = self._socket.send(self._large[:SENT_AT_ONCE_BYTES], NO_SIGNAL)
                self.sent_bytes += sent
                self._large = self._large[sent:]
            while self._unsent:
                with memoryview(self._unsent) as view:
                    sent = self._socket.send(view[:SENT_AT_ONCE_BYTES], NO_SIGNAL)
                self.sent_bytes += sent
                del self._unsent[:sent]
        except BlockingIOError:
            return

    def _check_time(self) -> None:
        """Raise TimeoutError when the attempt takes too long."""
        if not self.is_open and time.monotonic() >= self._until:
            raise TimeoutError(errno.ETIMEDOUT, "no answer in time")

    def _on_error(self, error: OSError | ProtocolError) -> None:
        """Close this connection; if it was never open, try the next address."""
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        if self.is_open:
            self._lose(reason)
            return
        self.problem = error if isinstance(error, ProtocolError) else None
        self.is_connected &= isinstance(error, TimeoutError)
        self.failures.append((self._label, reason))
        self._drop_socket()
        self._dial_next()

    def _lose(self, reason: str) -> None:
        self.reason = reason
        self.is_lost = True
        self._drop_socket()

    def _drop_socket(self) -> None:
        sock, self._socket = self._socket, None
        self._is_connecting = False
        if sock is None:
            return
        if self._before_close is not None:
            self._before_close()
        sock.close()
