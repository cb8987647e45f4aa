"""Watching: the changes of some prefixes, each once, in order, none skipped, across restarts of the daemon.

`Watch` is what `Client.watch` returns. Its `step` never blocks, so that asyncio can drive it too (aio.py).
Which change may be delivered is decided in follower.py; here are the sockets.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Self

import zmq

from kvd import wire
from kvd.client.closing import Closing
from kvd.client.follower import Follower, common_prefix
from kvd.client.inflight import Outcome
from kvd.client.keys import Keys
from kvd.client.polling import SPAN, WAIT, Polling
from kvd.client.snapshot import Snapshot
from kvd.client.sockets import LOST, Shared, changes_endpoint, event_in, monitor, subscriber
from kvd.client.stream import Stream
from kvd.commands.base import Error, Ok
from kvd.commands.changes import Changes
from kvd.commands.entry import Change
from kvd.commands.server import Info, Ping
from kvd.errors import BadArgument, ClientError, Compacted, HistoryChanged, Refused
from kvd.limits import CHANGES_LIMIT_DEFAULT, RECONNECT_MS, RECONNECT_MS_MAX, SUBSCRIBER_DEAD_MS, WATCHED_BYTES_MAX

NOBLOCK = int(zmq.NOBLOCK)
TAKEN_PER_STEP_MAX = 1_000

OnState = Callable[[str], None]


class Watch(Closing):
    """An iterator over changes that ends only when it is closed, or with an error it cannot mend.

    Raises Compacted when changes it needs are no longer kept, HistoryChanged when the daemon serves
    another store, Unreachable when no daemon was there at the start, Denied when we may not read a prefix.
    """

    def __init__(
        self,
        endpoint: str,
        prefixes: Sequence[bytes],
        *,
        since: int | None = None,
        snapshot: bool = False,
        timeout: float,
        keys: Keys | None = None,
        on_state: OnState | None = None,
        shared: Shared | None = None,
    ) -> None:
        """`since` None: from now on. `on_state` is told "disconnected" and "reconnected"."""
        self.prefixes = list(prefixes) or [b""]
        self.since = since
        self.snapshot = Snapshot(self.prefixes) if snapshot else None
        self.on_state = on_state or (lambda _: None)
        self.stream = Stream(endpoint, timeout=timeout, window=8, is_ordered=False, keys=keys, shared=shared)
        self.follower: Follower | None = None
        self.polling: Polling | None = None  # where we are not let in to the changes socket
        self.history: str | None = None
        self.socket: Any = None
        self.monitor: Any = None
        self.head = self.told_revision = 0
        self.retry_ms = RECONNECT_MS
        self.retry_at: float | None = None
        self.heard_at = 0.0
        self.is_connected = self.was_connected = False
        self.buffer: deque[Change] = deque()
        self.ask_info()

    # For the caller

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Change:
        """Return the next change, however long it takes."""
        while not self.buffer:
            self.buffer.extend(self.take())
        return self.buffer.popleft()

    def take(self, wait_s: float | None = None) -> list[Change]:
        """Return the changes that are there; wait for the first so many seconds (None: as long as it takes)."""
        limit = None if wait_s is None else time.monotonic() + wait_s
        while True:
            changes = [*self.buffer, *self.step()]
            self.buffer.clear()
            if changes or (limit is not None and time.monotonic() >= limit):
                return changes
            self.wait(limit)

    def ready(self) -> int:
        """Wait until nothing can be missed any more; return the revision from which on changes come."""
        while not self.is_ready:
            self.buffer.extend(self.step())
            if not self.is_ready:
                self.wait(None)
        return self.revision

    @property
    def is_ready(self) -> bool:
        """Return whether nothing can be missed any more."""
        if self.polling is not None:
            return self.polling.is_complete
        return self.follower is not None and self.follower.is_complete

    @property
    def revision(self) -> int:
        """Return the revision up to which all has been delivered: watch with `since` this to go on."""
        return self.revision_before(self.buffer)

    def revision_before(self, waiting: Sequence[Change]) -> int:
        """Return the revision up to which all has been delivered, but for what waits to be handed out one by one."""
        if waiting and waiting[0].time:  # else it is an entry of the snapshot, within which one cannot go on
            return waiting[0].revision - 1
        position = None if self.follower is None else self.follower.position
        return position if position is not None else self.since or 0

    def close(self) -> None:
        """Stop watching."""
        self.unsubscribe()
        self.stream.close()

    # For whoever drives it

    def sockets(self) -> list[Any]:
        """Return the sockets whose readability calls for a `step`."""
        ours = [] if self.socket is None else [self.socket, self.monitor]
        return [self.stream.socket, self.stream.monitor, *ours]

    def wait(self, limit: float | None) -> None:
        """Block until a step is worth it."""
        poller = zmq.Poller()
        for sock in self.sockets():
            poller.register(sock, zmq.POLLIN)
        until = min(self.due(), limit) if limit is not None else self.due()
        poller.poll(max(0, ceil((until - time.monotonic()) * 1000)))

    def due(self) -> float:
        """Return when a step is worth it even if no socket says so, on the monotonic clock."""
        times = [self.heard_at + SUBSCRIBER_DEAD_MS / 1000] if self.socket is not None else []
        times += [t for t in (self.retry_at, self.stream.pending.next_deadline()) if t is not None]
        if self.stream.pending.next_to_send() is not None:
            times.append(time.monotonic() + RECONNECT_MS / 1000)
        return min(times, default=time.monotonic() + RECONNECT_MS_MAX / 1000)

    def step(self) -> list[Change]:
        """Take in whatever has arrived, without blocking; return what is to be delivered."""
        changes: list[Change] = []
        outcomes = self.stream.receive(0)
        if self.polling is not None and self.stream.breaks != self.breaks:
            self.lost()  # what answers now may be another store
        for (tag, connection), outcome in outcomes:
            if self.follower is None or connection in (None, self.follower.connection):
                changes += self.answered(tag, outcome)
        if self.socket is not None:
            changes += self.take_published()
            self.look_for_loss()
        if self.retry_at is not None and time.monotonic() >= self.retry_at:
            self.retry_at = None
            self.ask_info()
        self.ask()
        if self.snapshot is not None and self.follower is not None:
            changes = [change for change in changes if change.time == 0 or not self.snapshot.covers(change)]
        return changes

    # Answers

    def ask_info(self) -> None:
        """Ask what store this is and where its changes are."""
        self.breaks = self.stream.breaks
        self.stream.send(Info("server"), ("info", None))

    def answered(self, tag: str, outcome: Outcome) -> list[Change]:
        """Take in the outcome of a command of ours."""
        if isinstance(outcome, ClientError):
            if self.history is None:
                raise outcome
            self.lost()
            return []
        if isinstance(outcome, Error):
            self.refused(tag, outcome)
            return []
        return self.told(tag, outcome)

    def told(self, tag: str, outcome: Ok) -> list[Change]:
        """Take in the answer to a command of ours."""
        if tag.startswith((SPAN, WAIT)):
            return self.polled(tag, outcome)
        if tag == "info":
            return self.connect(outcome.result)
        if tag == "page":
            return self.next_page(outcome.revision, outcome.result)
        if tag == "head":
            self.head = outcome.revision
            return []
        assert self.follower is not None
        return self.follower.probed(self.head, outcome.revision, wire.changes_in(outcome.result))

    def polled(self, tag: str, outcome: Ok) -> list[Change]:
        """Take in changes that were asked for without the changes socket."""
        assert self.polling is not None
        assert self.follower is not None
        kind, _, prefix = tag.partition(":")
        changes = self.polling.took(kind, bytes.fromhex(prefix), outcome.revision, wire.changes_in(outcome.result))
        self.follower.position = self.polling.position
        if self.polling.is_complete:
            self.connected()
        return changes

    def refused(self, tag: str, error: Error) -> None:
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
            self.lost()

    def connect(self, info: dict[str, dict[str, Any]]) -> list[Change]:
        """INFO came: check that it is the same store, and subscribe (or read the snapshot first)."""
        history, facts = info["server"]["history"], info["server"]
        self.told_revision = facts["revision"]
        if self.history not in (None, history):
            raise HistoryChanged("the daemon has another history: it was restored, or it is another store")
        is_first, self.history = self.history is None, history
        if self.follower is None:
            self.queue_max = facts["publish_queue"]
            self.endpoint = changes_endpoint(self.stream.endpoint, facts["changes_endpoints"])
            if self.snapshot is not None:
                if is_first:
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
            self.subscribe()

    def next_page(self, revision: int, result: list[Any]) -> list[Change]:
        """Take in a page of the snapshot."""
        assert self.snapshot is not None
        entries = self.snapshot.took(revision, result)
        self.ask_page()
        return entries

    # The changes socket

    def subscribe(self) -> None:
        """Open the changes socket."""
        self.unsubscribe()
        self.socket = subscriber(self.stream.context, self.endpoint, self.prefixes, self.stream.keys)
        self.monitor = monitor(self.socket)
        self.stream.opened += [self.socket, self.monitor]
        self.heard_at = time.monotonic()

    def unsubscribe(self) -> None:
        """Close the changes socket."""
        if self.socket is not None:
            self.socket.disable_monitor()
            for sock in (self.monitor, self.socket):
                sock.close(0)
                self.stream.opened.remove(sock)
            self.socket = self.monitor = None

    def take_published(self) -> list[Change]:
        """Take in what was published."""
        assert self.follower is not None
        delivered: list[Change] = []
        receive, room = self.socket.recv, WATCHED_BYTES_MAX
        try:
            for _ in range(TAKEN_PER_STEP_MAX):
                topic = receive(NOBLOCK)
                body = receive()
                room -= len(body)
                if topic.startswith(wire.CHANGE_TOPIC):
                    delivered += self.follower.change(wire.decode_change(body))
                else:
                    self.heard(wire.decode_control(body))
                if room < 0:
                    break
        except zmq.Again:
            return delivered
        self.heard_at = time.monotonic()
        return delivered

    def heard(self, control: list[Any]) -> None:
        """Take in a control body."""
        assert self.follower is not None
        self.heard_at = time.monotonic()
        if control[0] == "HEARTBEAT":
            self.follower.heartbeat(control[1])
            self.connected()

    def connected(self) -> None:
        """Take note that nothing is missing but what is asked for."""
        self.retry_ms = RECONNECT_MS
        if not self.is_connected:
            self.is_connected = True
            if self.was_connected:
                self.on_state("reconnected")
            self.was_connected = True

    def look_for_loss(self) -> None:
        """See whether the changes socket's connection is gone or silent for too long."""
        is_gone = time.monotonic() > self.heard_at + SUBSCRIBER_DEAD_MS / 1000
        is_let_in = True
        while self.monitor.poll(0):
            event = event_in(self.monitor.recv_multipart())
            is_gone |= bool(event & LOST)
            is_let_in &= event != zmq.EVENT_HANDSHAKE_FAILED_AUTH
        if not is_let_in:
            self.poll()
        elif is_gone:
            self.lost()

    def poll(self) -> None:
        """We may not hear of all keys: follow by CHANGES alone, which says Denied if we may not read a prefix."""
        assert self.follower is not None
        self.unsubscribe()
        self.follower.disconnected()
        position = self.follower.position
        self.polling = Polling(self.prefixes, self.told_revision if position is None else position)

    def lost(self) -> None:
        """The daemon is gone: begin anew soon, from the position reached."""
        self.polling = None
        if self.is_connected:
            self.is_connected = False
            self.on_state("disconnected")
        self.unsubscribe()
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
