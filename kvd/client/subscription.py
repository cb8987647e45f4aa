"""The connections of a watch, one for commands and one for changes, and what is made of what they bring.

A `Subscription` never blocks: `step` processes what has arrived, `channels` and `due` say when the next step is worth
it. `Watch` waits for that, and `AsyncWatch` has an event loop wait. Which change may be delivered is decided in
follower.py.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kvd import wire
from kvd.client.channel import Channel
from kvd.client.connection import RECEIVED_BYTES, make_session
from kvd.client.endpoints import changes_endpoint, parse_endpoint
from kvd.client.follower import Follower, common_prefix
from kvd.client.journal_poller import SPAN, WAIT, JournalPoller
from kvd.client.keys import Keys
from kvd.client.outcomes import Outcome
from kvd.client.selection import SNAPSHOT_END, Position, Selection
from kvd.client.snapshot import Snapshot
from kvd.client.stream import Resolve, Stream
from kvd.client.zmtp import SUBSCRIBER, Rejected
from kvd.commands.base import Error, Ok
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.commands.server import Info, Ping
from kvd.errors import BadArgument, ClientError, Compacted, HistoryChanged, Refused
from kvd.limits import CHANGES_LIMIT_DEFAULT, RECONNECT_MS, RECONNECT_MS_MAX, SUBSCRIBER_DEAD_MS

PUBLISHED_FRAMES = 2
# What the kernel holds for us besides: small, so that a watcher that stands still fills the daemon's queue soon.
RECEIVE_BUFFER_BYTES = 256 * 1024

OnState = Callable[[str], None]


class Subscription:
    """Follows what is selected. Its errors are those of `Watch`."""

    def __init__(  # noqa: PLR0913  # the options of a watch are its arguments
        self,
        endpoint: str | Sequence[str] | None,
        selection: Selection,
        *,
        since: int | Position | None,
        history: str | None,
        snapshot: bool,
        timeout: float,
        keys: Keys | None,
        on_state: OnState | None,
        on_history: Callable[[str], None] | None,
        resolve: Resolve,
    ) -> None:
        """As for `Watch`."""
        self.selection = selection
        self.prefixes = selection.topics
        self.since, self._expected = since if isinstance(since, Position) else (since, history)
        self.snapshot = Snapshot(self.prefixes) if snapshot else None
        self.on_state = on_state or (lambda _: None)
        self._on_history = on_history or (lambda _: None)
        self.stream = Stream(endpoint, timeout=timeout, window=8, is_ordered=False, keys=keys, resolve=resolve)
        self.follower: Follower | None = None
        self.polling: JournalPoller | None = None  # where we are not let in to the changes socket
        self.history: str | None = None
        self.channel: Channel | None = None
        self.head = self.told_revision = 0
        self.retry_ms = RECONNECT_MS
        self.retry_at: float | None = None
        self.heard_at = 0.0
        self.is_connected = self.was_connected = False
        self._resolve = resolve
        self._is_subscription_due = self._is_mark_due = False
        self._pid = os.getpid()
        self.ask_info()

    @property
    def is_ready(self) -> bool:
        """Return whether nothing can be missed any more."""
        if self.polling is not None:
            return self.polling.is_complete
        return self.follower is not None and self.follower.is_complete

    @property
    def reached(self) -> int | None:
        """Return the revision that is reached, or None where the start is now and the daemon has not answered yet."""
        position = None if self.follower is None else self.follower.position
        return position if position is not None else self.since

    def channels(self) -> list[Channel]:
        """Return the connections whose readiness calls for a `step`."""
        return [each for each in (self.stream.channel, self.channel) if each is not None and not each.is_lost]

    def due(self) -> float:
        """Return when a step is worth it even if no connection says so, on the monotonic clock."""
        if self.stream.pending.has_outcome:
            return time.monotonic()  # it came at the end of a step, and no connection says so any more
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
            self._on_loss()  # what answers now may be another store
        for (tag, connection), outcome in outcomes:
            if self.follower is None or connection in (None, self.follower.connection):
                changes += self._on_outcome(tag, outcome)
        if self._is_subscription_due:
            self.subscribe()
        if self.channel is not None:
            changes += self._receive_published(self.channel)
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

    def reset(self, since: int | None) -> None:
        """Forget what is under way, to follow again from a revision; a snapshot begins again."""
        self.stream.pending.clear()
        self.unsubscribe()
        self._is_subscription_due = False
        self.follower = self.polling = self.retry_at = None
        self.since = since
        if self.snapshot is not None:
            self.snapshot = Snapshot(self.prefixes)

    def release(self) -> None:
        """Close the descriptors."""
        self.unsubscribe()
        self.stream.close()

    # Answers

    def ask_info(self) -> None:
        """Ask what store this is and where its changes are."""
        self.breaks = self.stream.breaks
        self.stream.send(Info("server"), ("info", None))

    def _on_outcome(self, tag: str, outcome: Outcome) -> list[Change]:
        """Process the outcome of a command of ours."""
        if isinstance(outcome, ClientError):
            if self.history is None:
                raise outcome
            self._on_loss()
            return []
        if isinstance(outcome, Error):
            self.on_error(tag, outcome)
            return []
        return self._on_result(tag, outcome)

    def _on_result(self, tag: str, outcome: Ok) -> list[Change]:
        """Process the answer to a command of ours."""
        if tag.startswith((SPAN, WAIT)):
            return self._on_polled(tag, outcome)
        if tag == "info":
            return self._on_info(outcome.result)
        if tag == "page":
            return self._on_page(outcome.revision, outcome.result)
        if tag == "head":
            self.head = outcome.revision
            return []
        assert self.follower is not None
        return self.follower.on_probed(self.head, outcome.revision, wire.changes_in(outcome.result))

    def _on_polled(self, tag: str, outcome: Ok) -> list[Change]:
        """Process changes that were asked for without the changes socket."""
        assert self.polling is not None
        assert self.follower is not None
        kind, _, prefix = tag.partition(":")
        changes = self.polling.on_result(kind, bytes.fromhex(prefix), outcome.revision, wire.changes_in(outcome.result))
        self.follower.position = self.polling.position
        if self.polling.is_complete:
            self._on_complete()
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
            self.follower.on_probe_failed()
        except Refused as refusal:
            if refusal.code not in ("BUSY", "SHUTTING_DOWN"):
                raise
            self._on_loss()

    def _on_info(self, info: dict[str, dict[str, Any]]) -> list[Change]:
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
                self._ask_page()
                return []
            self.follower = Follower(self.prefixes, self.since, self.queue_max)
        self.subscribe()
        return []

    def _ask_page(self) -> None:
        """Ask for the next page of the snapshot, or begin to follow when there is none."""
        assert self.snapshot is not None
        command = self.snapshot.next_command()
        if command is not None:
            self.stream.send(command, ("page", None))
        else:
            self.follower = Follower(self.prefixes, self.since, self.queue_max)
            self._is_mark_due = self.selection.has_mark
            self.subscribe()

    def _on_page(self, revision: int, result: list[Any]) -> list[Change]:
        """Process a page of the snapshot."""
        assert self.snapshot is not None
        entries = self.snapshot.on_result(revision, result)
        self._ask_page()
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

    def _receive_published(self, channel: Channel) -> list[Change]:
        """Process what was published, and the end of the connection."""
        assert self.follower is not None
        delivered: list[Change] = []
        for parts in channel.advance():
            if len(parts) != PUBLISHED_FRAMES:
                continue
            topic, body = parts
            self.heard_at = channel.heard_at
            if topic.startswith(wire.CHANGE_TOPIC):
                delivered += self.follower.on_change(wire.decode_change(body))
            else:
                self._on_control(wire.decode_control(body))
        if isinstance(channel.problem, Rejected):
            self.poll()
        elif channel.is_lost or time.monotonic() > self.heard_at + SUBSCRIBER_DEAD_MS / 1000:
            self._on_loss()
        return delivered

    def _on_control(self, control: list[Any]) -> None:
        """Process a control body."""
        assert self.follower is not None
        if control[0] == "HEARTBEAT":
            self.follower.on_heartbeat(control[1])
            self._on_complete()

    def _on_complete(self) -> None:
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
        self.follower.on_disconnect()
        position = self.follower.position
        self.polling = JournalPoller(self.prefixes, self.told_revision if position is None else position)

    def _on_loss(self) -> None:
        """The daemon is gone: begin anew soon, from the position reached."""
        self.polling = None
        if self.is_connected:
            self.is_connected = False
            self.on_state("disconnected")
        self.unsubscribe()
        self._is_subscription_due = False
        if self.follower is not None:
            self.follower.on_disconnect()
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
