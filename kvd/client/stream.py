"""Many commands in flight over one connection. Blocking, for one thread; asyncio drives it too (aio.py).

No thread runs in the background: the calls dial, serve and replace the connection. Commands are collected, and sent
together when the caller waits or when there are enough of them.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from kvd.client.channel import Channel
from kvd.client.connection import SILENCE_S, make_session, reason_of
from kvd.client.context import ContextManaged
from kvd.client.diagnosis import Diagnosis
from kvd.client.endpoints import (
    DEFAULT_ENDPOINT,
    Address,
    Endpoint,
    parse_endpoints,
    socket_access_problem,
)
from kvd.client.inflight import InFlight
from kvd.client.keys import Keys
from kvd.client.outcomes import Outcome, ok
from kvd.client.readiness import Interest, wait_until_ready
from kvd.client.zmtp import KeyMismatch, MechanismMismatch, Rejected
from kvd.commands import Command
from kvd.commands.base import Ok
from kvd.limits import IN_FLIGHT_MAX, RECONNECT_MS, RECONNECT_MS_MAX, TIMEOUT_MS

__all__ = ["DEFAULT_ENDPOINT", "Stream", "ok"]

COLLECTED_COMMANDS_MAX = 64
COLLECTED_BYTES_MAX = 64 * 1024
REPLY_FRAMES = 3

# Returns the addresses of an endpoint, or None while the lookup runs. Raises OSError.
Resolve = Callable[[Endpoint], Sequence[Address] | None]


class Stream(ContextManaged):
    """A connection to the first endpoint that answers. When it breaks, a new one replaces it.

    `window` is the caller's bound on commands in flight. Outcomes come in the order of the commands or, unless
    `is_ordered`, as they arrive.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = TIMEOUT_MS / 1000,
        connect_timeout: float | None = None,
        refused_timeout: float | None = None,
        window: int = 256,
        is_ordered: bool = True,
        keys: Keys | None = None,
        resolve: Resolve = Endpoint.addresses,
    ) -> None:
        """Times in seconds; `connect_timeout` is how long a command may wait for a connection (default: `timeout`).

        With `refused_timeout`, a stream that never had a connection gives up once all endpoints have refused it for so
        long. Raises ValueError for an invalid endpoint.
        """
        if not 1 <= window <= IN_FLIGHT_MAX:
            raise ValueError(f"window is {window}; it has to be 1 to {IN_FLIGHT_MAX}")
        # More attributes than most classes have: eight are the arguments; dialling (position, pause, retry) and
        # sending work on the same connection.
        self._endpoints = parse_endpoints(endpoint)
        self.keys = keys
        self.timeout = timeout
        self.connect_timeout = timeout if connect_timeout is None else connect_timeout
        self.refused_timeout = refused_timeout
        self.window = window
        self._diagnosis = Diagnosis(self._endpoints[0].text)
        self.pending = InFlight(is_ordered=is_ordered, diagnosis=self._diagnosis)
        self.breaks = 0  # how often a connection was lost, or could not be made
        self.channel: Channel | None = None
        self._resolve = resolve
        self._position = 0  # of the endpoint being tried
        self._refused_since: float | None = None  # on the monotonic clock
        self._pause_s = 0.0
        self._retry_at = 0.0
        self._is_resolving = False  # a name lookup runs: each `advance` asks for its result
        self._is_closed = False
        self._is_busy = False  # within a call; if set at the next one, an interrupt ended the last
        self._answer_tag: object = None  # of the command that `answer` waits for
        self._pid = os.getpid()

    @property
    def endpoint(self) -> str:
        """The endpoint in use, or the first to be tried."""
        return self._diagnosis.endpoint

    @property
    def in_flight(self) -> int:
        """The number of commands without a taken outcome."""
        return len(self.pending)

    def send(self, command: Command, tag: Any = None) -> None:
        """Add a command. It is sent with those that follow it, at the latest when the caller waits."""
        if not self.pending.by_correlation:
            self._enter()
            self._refresh()
            self._is_busy = False
        now = time.monotonic()
        until = now + self.timeout + (getattr(command, "wait_ms", None) or 0) / 1000
        self.pending.add(command, tag, unsent_until=now + self.connect_timeout, until=until)
        if len(self.pending.waiting) >= COLLECTED_COMMANDS_MAX:
            self.flush()

    def flush(self) -> None:
        """Send the waiting commands, if there is a connection."""
        self._enter()
        self._flush()
        self._is_busy = False

    def _flush(self) -> None:
        channel = self.channel
        if channel is None or not channel.is_open or not self.pending.waiting:
            return
        pack = channel.session.pack
        while not channel.is_lost and (batch := self.pending.next_batch(COLLECTED_BYTES_MAX)):
            data = b"".join([pack(pending.correlation, b"", pending.body) for pending in batch])
            end = channel.queued_bytes + len(data)
            self.pending.set_end(batch, end)  # first: after an interrupt in between, no command is sent again
            channel.send(data)

    def receive(self, wait_s: float | None = None) -> list[tuple[Any, Outcome]]:
        """Return the outcomes that have arrived; wait for the first (None: until its deadline)."""
        limit = None if wait_s is None else time.monotonic() + wait_s
        while self.pending:
            self.flush()
            outcomes = list(self.pending.take())
            if outcomes:
                return outcomes
            self.turn(limit)
            if limit is not None and time.monotonic() >= limit:
                return list(self.pending.take())
        return []

    def answer(self, command: Command) -> Ok:
        """Run one command and wait for its reply. Raises KvdError; outcomes of others that come first are dropped."""
        if self._answer_tag is not None:
            self.pending.abandon(self._answer_tag)  # left behind by an interrupted call
        for _ in self.receive(0):
            pass
        self._answer_tag = tag = object()
        self.send(command, tag)
        while self.pending:
            for other, outcome in self.receive():
                if other is tag:
                    self._answer_tag = None
                    return ok(outcome)
        raise AssertionError("the command is no longer in flight")  # pragma: no cover

    def turn(self, limit: float | None) -> None:
        """Wait for the next event, at most until `limit` on the monotonic clock, and process it."""
        times = [time_at for time_at in (limit, self.due()) if time_at is not None]
        wait_s = max(0.0, min(times) - time.monotonic()) if times else 0.0
        wait_until_ready(self.interests(), wait_s)
        self.advance()

    def interests(self) -> list[Interest]:
        """Return the descriptors to wait for; when one is ready, call `advance`."""
        channel = self.channel
        return [] if channel is None or channel.is_lost else [Interest(channel.fileno(), channel.wants_write)]

    def due(self) -> float | None:
        """Return when to call `advance` even if nothing arrives, on the monotonic clock; None: never."""
        times = [self.pending.next_deadline()]
        if self.channel is None:
            times.append(self._retry_at if self.pending.waiting else None)
        else:
            times.append(self.channel.due)
            if self.is_reply_awaited:
                times.append(self.channel.heard_at + SILENCE_S)
        return min([each for each in times if each is not None], default=None)

    def until_readable(
        self, fd: int, work: Callable[[], None], waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Serve the connection until a descriptor is readable; call `work` after each event.

        `waiting` is entered while the stream waits.
        """
        ready = wait_until_ready([Interest(fd)], 0)
        while fd not in ready:
            self.advance()
            work()
            due = self.due()
            with waiting():
                wait_s = None if due is None else max(0.0, due - time.monotonic())
                ready = wait_until_ready([Interest(fd), *self.interests()], wait_s)

    def advance(self) -> None:
        """Receive, send what waits, and dial when it is time. Raises OSError when no descriptors are left."""
        self._enter()
        now = time.monotonic()
        if self.channel is not None:
            self._serve(self.channel, now)
        is_due = now >= self._retry_at or self._is_resolving
        if self.channel is None and self.pending.waiting and is_due and not self._is_closed:
            self._dial()
        self._flush()
        if self.channel is not None:
            self._diagnosis.on_silence(is_silent=self.channel.is_silent)
        self.pending.expire(time.monotonic())
        self._is_busy = False

    def close(self) -> None:
        """Close the connection. Commands in flight get no outcome."""
        self._is_closed = True
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def _enter(self) -> None:
        """Start a call; recover when an interrupt ended the last one. Raises RuntimeError in a forked child."""
        if self._pid != os.getpid():
            raise RuntimeError("this stream was made before a fork: make one in the child")
        if self._is_busy:
            self._recover()
        self._is_busy = True

    def _recover(self) -> None:
        """Close the connection. Commands that were given to it count as sent, whatever it recorded."""
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.close()
        self.pending.on_interrupt(0 if channel is None else channel.queued_bytes)
        self._retry_at = 0.0

    @property
    def is_reply_awaited(self) -> bool:
        """Whether a sent command has no reply yet."""
        return len(self.pending.by_correlation) > len(self.pending.waiting)

    def _refresh(self) -> None:
        """Check, before a command after a pause, that the connection still stands."""
        if self.channel is not None:
            self._serve(self.channel, time.monotonic(), is_idle=True)
        if self.channel is not None:
            self.channel.restart_silence()
        elif self._retry_at > time.monotonic() + RECONNECT_MS / 1000:
            self._retry_at = 0.0

    def _serve(self, channel: Channel, now: float, *, is_idle: bool = False) -> None:
        """Process what the connection brings, and its end."""
        messages = channel.advance()
        if messages:
            self._take(messages)
        is_silent = not is_idle and channel.is_open and self.is_reply_awaited and now >= channel.heard_at + SILENCE_S
        if is_silent:
            channel.close()
        if channel.is_lost:
            self._on_lost(channel)

    def _take(self, messages: Sequence[Sequence[bytes]]) -> None:
        """Process replies: correlation, an empty frame, the body."""
        on_reply = self.pending.on_reply
        for parts in messages:
            if len(parts) == REPLY_FRAMES:
                on_reply(parts[0], parts[2])
        self._pause_s = 0.0
        self.refused_timeout = None  # from now on, wait for a daemon that restarts
        self._diagnosis.on_reply()

    def _on_lost(self, channel: Channel) -> None:
        """Process the loss of a connection, or the failure to make one."""
        self.channel = None
        self.breaks += 1
        self.pending.on_disconnect(channel.sent_bytes)
        if channel.is_open:
            self._retry_at = time.monotonic() + self._next_pause()
            return
        self._on_dial_failed(self._endpoints[self._position], channel)

    def _on_dial_failed(self, endpoint: Endpoint, channel: Channel) -> None:
        """Process the failure of all addresses of an endpoint."""
        self._diagnosis.on_silence(is_silent=channel.is_silent)
        rejection = _rejection(endpoint, channel)
        self._diagnosis.on_rejected(rejection)
        if rejection:
            self.pending.give_up_unsent()
        if isinstance(channel.problem, KeyMismatch):  # it may pass
            self._diagnosis.on_rejected(f"{endpoint.text}: {channel.problem}")
        self._try_next(endpoint, channel.failures)

    def _try_next(self, endpoint: Endpoint, failures: Sequence[tuple[str, str]]) -> None:
        """Record why an endpoint failed, and turn to the next: at once, or after a pause when all have been tried."""
        problem = socket_access_problem(endpoint)
        self._diagnosis.on_failure(endpoint.text, [(endpoint.text, problem)] if problem else failures)
        self._position = (self._position + 1) % len(self._endpoints)
        self._retry_at = time.monotonic() + (self._next_pause() if self._position == 0 else 0.0)
        if self._position == 0 and self._is_refused_for_long():
            self.pending.give_up_unsent()

    def _is_refused_for_long(self) -> bool:
        """Return whether there never was a connection, and all endpoints have refused one for `refused_timeout`."""
        if self.refused_timeout is None:
            return False
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        return now - self._refused_since >= self.refused_timeout

    def _next_pause(self) -> float:
        """Return how long to wait before dialling: not at all, then twice as long each time."""
        pause_s = self._pause_s
        self._pause_s = min(max(RECONNECT_MS / 1000, 2 * pause_s), RECONNECT_MS_MAX / 1000)
        return pause_s

    def _dial(self) -> None:
        """Start to connect to the next endpoint. Raises OSError when there are no descriptors left."""
        endpoint = self._endpoints[self._position]
        try:
            addresses = self._resolve(endpoint)
        except OSError as error:
            self._is_resolving = False
            self.breaks += 1
            self._try_next(endpoint, [(endpoint.text, reason_of(error))])
            return
        self._is_resolving = addresses is None
        if addresses is None:
            self._retry_at = time.monotonic() + RECONNECT_MS_MAX / 1000
            return
        self._diagnosis.on_dial(endpoint.text)
        self.channel = Channel(addresses, partial(make_session, self.keys))
        self._serve(self.channel, time.monotonic())


def _rejection(endpoint: Endpoint, channel: Channel) -> str:
    """Return why waiting for an endpoint does not help; empty if it may."""
    if isinstance(channel.problem, Rejected):
        return f"the daemon at {endpoint.text} does not let in our key"
    if isinstance(channel.problem, MechanismMismatch):
        return f"{endpoint.text}: {channel.problem}"
    return ""
