"""The connections of a blocking client: each carries one exchange at a time, so that threads can share the client.

A caller acquires a connection, exchanges a request for a reply, and releases the connection. A thread that finds no
idle connection opens one. `list.pop` and `list.append` are atomic, with and without the GIL, so there is no lock that
could be held when a signal handler runs a command, or in a child after a fork. A forked child opens its own
connections.
"""

import contextlib
import errno
import os
import socket
import time
import warnings
from collections.abc import Sequence

from kvd.client.connection import SILENCE_S, Connection, ConnectionLost, DeadlineExceeded, reason_of, reraise_foreign
from kvd.client.diagnosis import failures_text
from kvd.client.endpoints import Endpoint, socket_access_problem
from kvd.client.keys import Keys
from kvd.client.outcomes import Traits, connection_broke, decode, encode, not_sent, ok, reply_missing, traits_of
from kvd.client.zmtp import KeyMismatch, MechanismMismatch, ProtocolError, Rejected
from kvd.commands import Command
from kvd.commands.base import Ok
from kvd.errors import ClientError, KvdError, Unreachable
from kvd.limits import RECONNECT_MS, RECONNECT_MS_MAX

IDLE_MAX = 16
IDLE_S = 30.0
KEY_MISMATCH = str(KeyMismatch())
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Pool:
    """Connections to the first of several endpoints that answers. Times in seconds."""

    def __init__(
        self, endpoints: Sequence[Endpoint], *, timeout: float, connect_timeout: float, keys: Keys | None
    ) -> None:
        self.endpoints = list(endpoints)  # the last one that answered comes first
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.keys = keys
        self.is_closed = False
        self._idle: list[Connection] = []
        self._pid = os.getpid()

    def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects. Raises KvdError."""
        body = encode(command)
        traits = traits_of(type(command))
        now = time.monotonic()
        until = now + self.timeout + (getattr(command, "wait_ms", None) or 0) / 1000
        return ok(decode(traits, self._exchange(traits, body, now, until)))

    def _exchange(self, traits: Traits, body: bytes, now: float, until: float) -> bytes:
        """Return the reply to a request, over as many connections as needed. Raises ClientError."""
        was_sent = False
        pause_s = 0.0
        while True:
            try:
                connection = self.acquire(traits, until if was_sent else min(until, now + self.connect_timeout))
            except Unreachable as error:
                if was_sent:
                    raise reply_missing(traits, error.where) from error
                raise
            try:
                reply = connection.exchange(body, until)
            except ConnectionLost as lost:
                connection.close()
                was_sent |= lost.sent_bytes is None
                if was_sent and not traits.is_safe:
                    raise connection_broke(traits, f" ({connection.endpoint}: {lost})") from lost
                if time.monotonic() >= until:
                    raise _out_of_time(traits, f" ({connection.endpoint}: {lost})", was_sent=was_sent) from lost
                time.sleep(min(pause_s, max(0.0, until - time.monotonic())))
                pause_s = _next_pause(pause_s)
            except DeadlineExceeded:
                connection.close()
                raise reply_missing(traits, f" ({connection.endpoint})") from None
            except BaseException:
                connection.close()
                raise
            else:
                self.release(connection)
                return reply

    def acquire(self, traits: Traits, until: float) -> Connection:
        """Return an idle connection, or a new one. Raises ClientError."""
        if self.is_closed:
            raise KvdError(f"{traits.name}: the client is closed")
        if self._pid != os.getpid():
            self._forget_parent()
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break  # another thread took the last
            if connection.is_fresh():
                return connection
            connection.close()
        return self._dial(traits, until)

    def release(self, connection: Connection) -> None:
        """Take a connection back after a complete reply."""
        if self._pid != os.getpid() or len(self._idle) >= IDLE_MAX:
            connection.close()
            return
        connection.idle_since = now = time.monotonic()
        self._idle.append(connection)
        if self.is_closed:  # checked last: another thread may close the client at any moment
            self.close()
            return
        with contextlib.suppress(IndexError):  # another thread took it
            if now - self._idle[0].idle_since > IDLE_S:
                self._close_oldest()

    def close(self) -> None:
        """Close the idle connections; a connection in use is closed when it is released."""
        self.is_closed = True
        while self._idle:
            self._close_oldest()

    def __del__(self) -> None:
        """Warn about a pool that was not closed, as sockets do."""
        if getattr(self, "_idle", None) and not self.is_closed and self._pid == os.getpid():
            warnings.warn(
                f"unclosed kvd client of {self.endpoints[0].text}", ResourceWarning, source=self, stacklevel=2
            )

    def _close_oldest(self) -> None:
        """Close the connection that has been idle for longest."""
        with contextlib.suppress(IndexError):  # another thread took it
            self._idle.pop(0).close()

    def _forget_parent(self) -> None:
        """Close, in a forked child, the copies of the parent's connections."""
        inherited, self._idle = self._idle, []
        self._pid = os.getpid()
        for connection in inherited:
            connection.close()

    def _dial(self, traits: Traits, until: float) -> Connection:
        """Return a new connection; retry until `until`. Raises ClientError, OSError."""
        pause_s = 0.0
        while True:
            failures: dict[str, list[tuple[str, str]]] = {}
            for endpoint in [*self.endpoints]:
                connection = self._try_endpoint(endpoint, until, failures.setdefault(endpoint.text, []), traits)
                if connection is not None:
                    return connection
            pause_s = _next_pause(pause_s)
            if time.monotonic() + pause_s >= until:
                problem = (
                    failures_text(failures)
                    if KEY_MISMATCH in [why for reasons in failures.values() for _, why in reasons]
                    else ""
                )
                raise not_sent(traits, problem, f" at {failures_text(failures)}")
            time.sleep(pause_s)

    def _try_endpoint(
        self, endpoint: Endpoint, until: float, failed: list[tuple[str, str]], traits: Traits
    ) -> Connection | None:
        """Return a connection; or None, with the reasons added to `failed`. Raises NotLetIn, OSError."""
        try:
            addresses = endpoint.addresses()
        except OSError as error:
            reraise_foreign(error)
            if not isinstance(error, socket.gaierror) and error.errno in _NO_DESCRIPTORS:
                raise
            failed.append((endpoint.text, reason_of(error)))
            return None
        for position, address in enumerate(addresses):
            try:
                connection = Connection.open(
                    address, endpoint.text, self.keys, _share(until, len(addresses) - position)
                )
            except (OSError, ProtocolError) as error:
                if isinstance(error, OSError):
                    reraise_foreign(error)
                    if error.errno in _NO_DESCRIPTORS:
                        raise
                failed.append((address.label, _explain(error, endpoint, traits)))
            else:
                if self.endpoints[0] is not endpoint:
                    self.endpoints = [endpoint, *[each for each in self.endpoints if each is not endpoint]]
                return connection
        return None


def _explain(error: OSError | ProtocolError, endpoint: Endpoint, traits: Traits) -> str:
    """Return why a connection failed. Raises NotLetIn where waiting does not help."""
    if isinstance(error, Rejected):
        raise not_sent(traits, f"the daemon at {endpoint.text} does not let in our key") from error
    if isinstance(error, MechanismMismatch):
        raise not_sent(traits, f"{endpoint.text}: {error}") from error
    if isinstance(error, ProtocolError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (socket_access_problem(endpoint) if error.errno == errno.EACCES else "") or reason_of(error)


def _out_of_time(traits: Traits, where: str, *, was_sent: bool) -> ClientError:
    """Return the error of a command that ran out of time while its connections broke."""
    return reply_missing(traits, where) if was_sent else not_sent(traits, where=where)


def _share(until: float, count: int) -> float:
    """Return the time limit of one attempt out of `count`, which leaves time for the others."""
    now = time.monotonic()
    return now + min(SILENCE_S, max(0.05, (until - now) / count))


def _next_pause(pause_s: float) -> float:
    """Return the pause before the next attempt: doubled each time, within bounds."""
    return min(max(RECONNECT_MS / 1000, 2 * pause_s), RECONNECT_MS_MAX / 1000)
