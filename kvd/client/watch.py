"""Watching: the changes of some prefixes, each once, in order, none skipped, across restarts of the daemon.

`Watch` is what `Client.watch` returns. Its `step` never blocks, so that asyncio can drive it too (aio.py). Which change
may be delivered is decided in follower.py; this file has the connections: one for commands, one for changes, and a
socket pair as a bell that wakes a blocked `take` when another thread stops the watch.
"""

import contextlib
import os
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

from kvd import wire
from kvd.client.channel import Channel
from kvd.client.closing import Closing
from kvd.client.connection import RECEIVED_BYTES, make_session
from kvd.client.endpoints import Endpoint, changes_endpoint, parse_endpoint
from kvd.client.follower import Follower, common_prefix
from kvd.client.keys import Keys
from kvd.client.outcomes import Outcome
from kvd.client.polling import SPAN, WAIT, Polling
from kvd.client.readiness import Interest, wait_until_ready
from kvd.client.selection import SNAPSHOT_END, Position, Selection
from kvd.client.snapshot import Snapshot
from kvd.client.stream import Resolve, Stream
from kvd.client.zmtp import SUBSCRIBER, Rejected
from kvd.commands.base import Error, Ok
from kvd.commands.changes import Changes
from kvd.commands.entry import Change
from kvd.commands.server import Info, Ping
from kvd.errors import BadArgument, ClientError, Compacted, HistoryChanged, Refused
from kvd.limits import CHANGES_LIMIT_DEFAULT, RECONNECT_MS, RECONNECT_MS_MAX, SUBSCRIBER_DEAD_MS

PUBLISHED_FRAMES = 2
# What the kernel holds for us besides: small, so that a watcher that stands still fills the daemon's queue soon.
RECEIVE_BUFFER_BYTES = 256 * 1024

OnState = Callable[[str], None]


class Watch(Closing):
    """An iterator over changes that ends when it is stopped or closed, or with an error it cannot mend.

    Raises Compacted when changes it needs are no longer kept, HistoryChanged when the daemon serves another store,
    Unreachable when no daemon was there at the start, Denied when we may not read a prefix. One thread iterates; any
    thread or signal handler may call `stop`.
    """

    def __init__(  # noqa: PLR0913  # the options of a watch are its arguments
        self,
        endpoint: str | Sequence[str] | None,
        selection: Selection,
        *,
        since: int | Position | None = None,
        history: str | None = None,
        snapshot: bool = False,
        timeout: float,
        keys: Keys | None = None,
        on_state: OnState | None = None,
        on_history: Callable[[str], None] | None = None,
        resolve: Resolve = Endpoint.addresses,
    ) -> None:
        """`since` None: from now on. `on_state` is called with "disconnected" and "reconnected"."""
        self.selection = selection
        self.prefixes = selection.topics
        self.since, self._expected = since if isinstance(since, Position) else (since, history)
        self.snapshot = Snapshot(self.prefixes) if snapshot else None
        self.on_state = on_state or (lambda _: None)
        self._on_history = on_history or (lambda _: None)
        self.stream = Stream(endpoint, timeout=timeout, window=8, is_ordered=False, keys=keys, resolve=resolve)
        self.follower: Follower | None = None
        self.polling: Polling | None = None  # where we are not let in to the changes socket
        self.history: str | None = None
        self.channel: Channel | None = None
        self.head = self.told_revision = 0
        self.retry_ms = RECONNECT_MS
        self.retry_at: float | None = None
        self.heard_at = 0.0
        self.is_connected = self.was_connected = False
        self.buffer: deque[Change] = deque()
        self._resolve = resolve
        self._is_subscription_due = self._is_mark_due = False
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._is_stopped = self._is_closed = False
        self._is_busy = False  # within a call: still true at the next, an interrupt came in between
        self._returned: int | None = None  # up to where changes had been returned before that call
        self._taking_thread: int | None = None
        self._pid = os.getpid()
        self.ask_info()

    # For the caller

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Change:
        """Return the next change, however long it takes; the iteration ends when the watch is stopped."""
        self._begin()
        while not self.buffer:
            self._fill(None)
            if not self.buffer and self._is_stopped:
                self._is_busy = False
                raise StopIteration
        change = self.buffer.popleft()
        self._is_busy = False
        return change

    def take(self, wait_s: float | None = None) -> list[Change]:
        """Return the changes that are there; wait for the first so many seconds (None: as long as it takes).

        Returns none once the watch is stopped.
        """
        limit = None if wait_s is None else time.monotonic() + wait_s
        self._begin()
        if not self._is_stopped:
            self._fill(limit)
        changes = [*self.buffer]
        self.buffer.clear()
        self._is_busy = False
        return changes

    def ready(self) -> int:
        """Wait until nothing can be missed any more; return the revision from which on changes come."""
        self._begin()
        while not self.is_ready and not self._is_stopped:
            self.buffer.extend(self.step())
            if not self.is_ready:
                self.wait(None)
        self._is_busy = False
        return self.revision

    @property
    def is_ready(self) -> bool:
        """Return whether nothing can be missed any more."""
        if self.polling is not None:
            return self.polling.is_complete
        return self.follower is not None and self.follower.is_complete

    @property
    def revision(self) -> int:
        """Return the revision up to which all has been delivered."""
        return self.revision_before(self.buffer)

    @property
    def position(self) -> Position:
        """Return up to where all has been delivered: `watch(since=position)` goes on there, or says that it cannot."""
        return Position(self.revision, self.history or self._expected)

    def revision_before(self, waiting: Sequence[Change]) -> int:
        """Return the revision up to which all has been delivered, but for what waits to be handed out one by one."""
        return self._reached(waiting) or 0

    def _reached(self, waiting: Sequence[Change]) -> int | None:
        """Return the same, or None where the watch is to follow from now on and has not begun."""
        if waiting and waiting[0].time:  # else it is an entry of the snapshot, within which one cannot go on
            return waiting[0].revision - 1
        position = None if self.follower is None else self.follower.position
        return position if position is not None else self.since

    def stop(self) -> None:
        """End the iteration. Any thread may call it, and a signal handler."""
        self._is_stopped = True
        if self._bell is not None and self._pid == os.getpid():  # a forked child would ring its parent's bell
            with contextlib.suppress(OSError):
                self._bell[1].send(b"\0")

    def close(self) -> None:
        """Stop watching and close the connections. From another thread it does so when that thread returns."""
        self._is_closed = True
        self.stop()
        if self._taking_thread in (None, threading.get_ident()):
            self._release()

    def __del__(self) -> None:
        """Warn when nobody closed it, as sockets do."""
        if not getattr(self, "_is_closed", True) and self._pid == os.getpid():
            warnings.warn("unclosed kvd watch", ResourceWarning, source=self, stacklevel=2)
            self._release()

    def _begin(self) -> None:
        """Begin a call that hands out changes. One that an interrupt ended took changes in and returned none."""
        if self._is_busy:
            self._rewind()
        else:
            self._returned = self._reached(self.buffer)
            self._is_busy = True

    def _rewind(self) -> None:
        """Follow again from what was returned last; the entries of a snapshot come again, all of them."""
        self.buffer.clear()
        self.stream.pending.clear()
        self.unsubscribe()
        self._is_subscription_due = False
        self.follower = self.polling = self.retry_at = None
        self.since = self._returned
        if self.snapshot is not None:
            self.snapshot = Snapshot(self.prefixes)
        if not self._is_stopped:
            self.ask_info()

    def _fill(self, limit: float | None) -> None:
        """Put what comes into the buffer; wait for the first, at most until a time."""
        self._taking_thread = threading.get_ident()
        try:
            while not self._is_stopped:
                self.buffer.extend(self.step())
                if self.buffer or (limit is not None and time.monotonic() >= limit):
                    return
                self.wait(limit)
        except Exception:
            if not self._is_closed:  # else it was closed meanwhile, by a signal handler for instance
                raise
        finally:
            self._taking_thread = None
            if self._is_closed:
                self._release()

    # For whoever drives it

    def channels(self) -> list[Channel]:
        """Return the connections whose readiness calls for a `step`."""
        return [each for each in (self.stream.channel, self.channel) if each is not None and not each.is_lost]

    def wait(self, limit: float | None) -> None:
        """Block until a step is worth it, or the watch is stopped."""
        if self._bell is None:
            self._bell = socket.socketpair()
            for sock in self._bell:
                sock.settimeout(0)
        if self._is_stopped:
            return  # it was stopped before there was a bell
        until = min(self.due(), limit) if limit is not None else self.due()
        interests = [Interest(each.fileno(), each.wants_write) for each in self.channels()]
        wait_until_ready([Interest(self._bell[0].fileno()), *interests], max(0.0, until - time.monotonic()))

    def due(self) -> float:
        """Return when a step is worth it even if no connection says so, on the monotonic clock."""
        times = [self.retry_at, self.stream.due()]
        if self.channel is not None:
            times += [self.heard_at + SUBSCRIBER_DEAD_MS / 1000, self.channel.due]
        if self._is_subscription_due:
            times.append(time.monotonic() + RECONNECT_MS / 1000)
        return min([each for each in times if each is not None], default=time.monotonic() + RECONNECT_MS_MAX / 1000)

    def step(self) -> list[Change]:
        """Process whatever has arrived, without blocking; return what is to be delivered."""
        if self._pid != os.getpid():
            raise RuntimeError("this watch was made before a fork: make one in the child")
        changes: list[Change] = []
        self.stream.advance()
        outcomes = list(self.stream.pending.take())
        if self.polling is not None and self.stream.breaks != self.breaks:
            self.on_loss()  # what answers now may be another store
        for (tag, connection), outcome in outcomes:
            if self.follower is None or connection in (None, self.follower.connection):
                changes += self.on_outcome(tag, outcome)
        if self._is_subscription_due:
            self.subscribe()
        if self.channel is not None:
            changes += self.receive_published(self.channel)
        if self.retry_at is not None and time.monotonic() >= self.retry_at:
            self.retry_at = None
            self.ask_info()
        self.ask()
        self.stream.advance()
        if self.snapshot is not None and self.follower is not None:
            changes = [change for change in changes if change.time == 0 or not self.snapshot.covers(change)]
            if self._is_mark_due:
                self._is_mark_due = False
                changes.append(Change(SNAPSHOT_END, self.since or 0, b"", None, 0, None, 0))
        return self.selection.apply(changes)

    # Answers

    def ask_info(self) -> None:
        """Ask what store this is and where its changes are."""
        self.breaks = self.stream.breaks
        self.stream.send(Info("server"), ("info", None))

    def on_outcome(self, tag: str, outcome: Outcome) -> list[Change]:
        """Process the outcome of a command of ours."""
        if isinstance(outcome, ClientError):
            if self.history is None:
                raise outcome
            self.on_loss()
            return []
        if isinstance(outcome, Error):
            self.on_error(tag, outcome)
            return []
        return self.on_result(tag, outcome)

    def on_result(self, tag: str, outcome: Ok) -> list[Change]:
        """Process the answer to a command of ours."""
        if tag.startswith((SPAN, WAIT)):
            return self.on_polled(tag, outcome)
        if tag == "info":
            return self.on_info(outcome.result)
        if tag == "page":
            return self.on_page(outcome.revision, outcome.result)
        if tag == "head":
            self.head = outcome.revision
            return []
        assert self.follower is not None
        return self.follower.probed(self.head, outcome.revision, wire.changes_in(outcome.result))

    def on_polled(self, tag: str, outcome: Ok) -> list[Change]:
        """Process changes that were asked for without the changes socket."""
        assert self.polling is not None
        assert self.follower is not None
        kind, _, prefix = tag.partition(":")
        changes = self.polling.took(kind, bytes.fromhex(prefix), outcome.revision, wire.changes_in(outcome.result))
        self.follower.position = self.polling.position
        if self.polling.is_complete:
            self.on_complete()
        return changes

    def on_error(self, tag: str, error: Error) -> None:
        """Raise what the daemon says."""
        try:
            wire.raise_error(error)
        except BadArgument as refusal:
            if tag == "changes" or tag.startswith((SPAN, WAIT)):
                raise HistoryChanged(f"the daemon has another history: {refusal.message}") from refusal
            raise
        except Compacted as refusal:
            # What is gone may have come by the changes socket while the probe was under way: then nothing is missed.
            if self.follower is None or (self.follower.position or 0) < refusal.details["compacted"]:
                raise
            self.follower.probe_failed()
        except Refused as refusal:
            if refusal.code not in ("BUSY", "SHUTTING_DOWN"):
                raise
            self.on_loss()

    def on_info(self, info: dict[str, dict[str, Any]]) -> list[Change]:
        """INFO came: check that it is the same store, and subscribe (or read the snapshot first)."""
        history, facts = info["server"]["history"], info["server"]
        self.told_revision = facts["revision"]
        self._on_history(history)
        if (expected := self.history or self._expected) not in (None, history):
            raise HistoryChanged(
                f"the daemon has the history {history}, not {expected}: it was restored, or it is another store. "
                "Read the keys again, and watch without a revision"
            )
        is_first, self.history = self.history is None, history
        if self.follower is None:
            self.queue_max = facts["publish_queue"]
            self.endpoint = changes_endpoint(self.stream.endpoint, facts["changes_endpoints"])
            if self.snapshot is not None:
                if is_first or self.since is None:
                    self.since = facts["revision"]
                self.ask_page()
                return []
            self.follower = Follower(self.prefixes, self.since, self.queue_max)
        self.subscribe()
        return []

    def ask_page(self) -> None:
        """Ask for the next page of the snapshot, or begin to follow when there is none."""
        assert self.snapshot is not None
        command = self.snapshot.next_command()
        if command is not None:
            self.stream.send(command, ("page", None))
        else:
            self.follower = Follower(self.prefixes, self.since, self.queue_max)
            self._is_mark_due = self.selection.has_mark
            self.subscribe()

    def on_page(self, revision: int, result: list[Any]) -> list[Change]:
        """Process a page of the snapshot."""
        assert self.snapshot is not None
        entries = self.snapshot.took(revision, result)
        self.ask_page()
        return entries

    # The changes socket

    def subscribe(self) -> None:
        """Connect to the changes socket: the prefixes are subscribed first, the control topic last.

        The first heartbeat then proves that the prefixes are subscribed. The connection never makes itself again: what
        is published meanwhile is lost without a trace, so the follower has to know of each break.
        """
        self.unsubscribe()
        addresses = self._resolve(parse_endpoint(self.endpoint))
        self._is_subscription_due = addresses is None
        if addresses is None:
            return
        topics = (*[wire.CHANGE_TOPIC + prefix for prefix in self.prefixes], wire.CONTROL_TOPIC)
        self.channel = Channel(
            addresses,
            partial(make_session, self.stream.keys, SUBSCRIBER, topics),
            receive_buffer_bytes=RECEIVE_BUFFER_BYTES,
            turn_bytes_max=RECEIVED_BYTES,
        )
        self.heard_at = time.monotonic()

    def unsubscribe(self) -> None:
        """Close the changes socket."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def receive_published(self, channel: Channel) -> list[Change]:
        """Process what was published, and the end of the connection."""
        assert self.follower is not None
        delivered: list[Change] = []
        for parts in channel.advance():
            if len(parts) != PUBLISHED_FRAMES:
                continue
            topic, body = parts
            self.heard_at = channel.heard_at
            if topic.startswith(wire.CHANGE_TOPIC):
                delivered += self.follower.change(wire.decode_change(body))
            else:
                self.on_control(wire.decode_control(body))
        if isinstance(channel.problem, Rejected):
            self.poll()
        elif channel.is_lost or time.monotonic() > self.heard_at + SUBSCRIBER_DEAD_MS / 1000:
            self.on_loss()
        return delivered

    def on_control(self, control: list[Any]) -> None:
        """Process a control body."""
        assert self.follower is not None
        if control[0] == "HEARTBEAT":
            self.follower.heartbeat(control[1])
            self.on_complete()

    def on_complete(self) -> None:
        """Nothing is missing but what is asked for."""
        self.retry_ms = RECONNECT_MS
        if not self.is_connected:
            self.is_connected = True
            if self.was_connected:
                self.on_state("reconnected")
            self.was_connected = True

    def poll(self) -> None:
        """We may not hear of all keys: follow by CHANGES alone, which says Denied if we may not read a prefix."""
        assert self.follower is not None
        self.unsubscribe()
        self.follower.disconnected()
        position = self.follower.position
        self.polling = Polling(self.prefixes, self.told_revision if position is None else position)

    def on_loss(self) -> None:
        """The daemon is gone: begin anew soon, from the position reached."""
        self.polling = None
        if self.is_connected:
            self.is_connected = False
            self.on_state("disconnected")
        self.unsubscribe()
        self._is_subscription_due = False
        if self.follower is not None:
            self.follower.disconnected()
        if self.retry_at is None:
            self.retry_at = time.monotonic() + self.retry_ms / 1000
            self.retry_ms = min(2 * self.retry_ms, RECONNECT_MS_MAX)

    def ask(self) -> None:
        """Ask for the span that is not proven, if there is one."""
        if self.polling is not None and self.follower is not None:
            for kind, command in self.polling.next_commands():
                self.stream.send(command, (f"{kind}:{(command.prefix or b'').hex()}", self.follower.connection))
        elif self.follower is not None and (since := self.follower.begin_probe()) is not None:
            # The answers are worth something only while the connection that was probed stands.
            number = self.follower.connection
            self.stream.send(Ping(), ("head", number))
            changes = Changes(since, common_prefix(self.prefixes), CHANGES_LIMIT_DEFAULT)
            self.stream.send(changes, ("changes", number))

    def _release(self) -> None:
        """Close all descriptors."""
        self._is_closed = True
        self.unsubscribe()
        self.stream.close()
        bell, self._bell = self._bell, None
        for sock in bell or ():
            sock.close()
