"""The connections of a watch: a stream for commands, and the changes socket.

A `Subscription` never blocks: `step` processes what has arrived, `channels` and `due` say when the next step is worth
it. `Watch` waits for that, and `AsyncWatch` has an event loop wait. The decisions are in watch_machine.py.
"""

import os
import time
import warnings
from collections.abc import Callable, Sequence

from kvd import wire
from kvd.client.changes_socket import ChangesSocket
from kvd.client.channel import Channel
from kvd.client.endpoints import changes_endpoint
from kvd.client.keys import Keys
from kvd.client.question import Question
from kvd.client.reconnects import OnState, Reconnects
from kvd.client.selection import Position, Selection
from kvd.client.stream import Resolve, Stream
from kvd.client.watch_machine import WatchMachine
from kvd.commands.base import Error
from kvd.commands.model import Change
from kvd.errors import ClientError
from kvd.limits import RECONNECT_MS_MAX

__all__ = ["OnState", "Subscription"]


class Subscription:
    """Follows what is selected. Its errors are those of `Watch`."""

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
        resolve: Resolve,
    ) -> None:
        """The arguments are those of `Watch`."""
        revision, expected = since if isinstance(since, Position) else (since, history)
        self.stream = Stream(endpoint, timeout=timeout, window=8, is_ordered=False, keys=keys, resolve=resolve)
        self._machine = WatchMachine(
            selection,
            since=revision,
            history=expected,
            has_snapshot=snapshot,
            on_history=on_history or (lambda _: None),
        )
        self._socket = ChangesSocket(selection.topics, keys, resolve)
        self._changes_endpoint: str | None = None
        self._reconnects = Reconnects(on_state)
        self._breaks = 0  # of the stream, when INFO was asked for
        self._is_closed = False
        self._pid = os.getpid()
        self.start()

    @property
    def is_ready(self) -> bool:
        """Whether no change can be missed any more."""
        return self._machine.is_ready

    @property
    def history(self) -> str | None:
        """The daemon's history; None until the daemon has answered."""
        return self._machine.history

    def position(self, waiting: Sequence[Change]) -> Position:
        """Return where the watch is, before the changes that wait to be handed out."""
        return Position(self.revision_before(waiting) or 0, self._machine.known_history)

    def revision_before(self, waiting: Sequence[Change]) -> int | None:
        """Return the revision of that position; None where the watch starts now and has not begun."""
        if waiting and waiting[0].time:  # not an entry of the snapshot, within which no watch can resume
            return waiting[0].revision - 1
        return self._machine.reached

    def channels(self) -> list[Channel]:
        """Return the connections to listen to."""
        return [each for each in (self.stream.channel, self._socket.channel) if each is not None and not each.is_lost]

    def due(self) -> float:
        """Return when to step even if no connection is ready, on the monotonic clock."""
        if self.stream.pending.has_outcome:
            return time.monotonic()  # it came at the end of a step, so no connection is ready for it
        times = [self._reconnects.due_at, self.stream.due(), *self._socket.due()]
        return min([each for each in times if each is not None], default=time.monotonic() + RECONNECT_MS_MAX / 1000)

    def start(self) -> None:
        """Ask INFO, from which all else follows."""
        self._breaks = self.stream.breaks
        self._ask(self._machine.first_question())

    def step(self) -> list[Change]:
        """Process what has arrived, without blocking; return the changes to deliver."""
        if self._pid != os.getpid():
            raise RuntimeError("this watch was made before a fork: make one in the child")
        changes = self._take_replies()
        if self._machine.wants_published and self._socket.channel is None:
            self._connect()
        changes += self._take_published()
        if self._reconnects.start(time.monotonic()):
            self.start()
        for question in self._machine.next_questions():
            self._ask(question)
        self.stream.advance()
        return self._machine.deliver(changes)

    def restart(self, since: int | None) -> None:
        """Forget what is in flight, to follow again from a revision after `start`."""
        self.stream.pending.clear()
        self._socket.close()
        self._changes_endpoint = None
        self._reconnects.cancel()
        self._machine.restart(since)

    def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        self._socket.close()
        self.stream.close()

    def __del__(self) -> None:
        """Warn about a watch that was not closed, as sockets do."""
        if not getattr(self, "_is_closed", True) and self._pid == os.getpid():
            warnings.warn("unclosed kvd watch", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def _ask(self, question: Question) -> None:
        self.stream.send(question.command, question)

    def _take_replies(self) -> list[Change]:
        """Process the outcomes of questions; return the changes they bring."""
        changes: list[Change] = []
        self.stream.advance()
        outcomes = list(self.stream.pending.take())
        if self._machine.is_polling and self.stream.breaks != self._breaks:
            self._on_loss()  # another store may answer now
        for question, outcome in outcomes:
            if self._machine.is_stale(question):
                continue
            if isinstance(outcome, ClientError):
                if self.history is None:
                    raise outcome
                self._on_loss()
            elif isinstance(outcome, Error):
                if self._machine.on_error(question, outcome):
                    self._on_loss()
            else:
                changes += self._machine.on_reply(question, outcome)
        if self._machine.is_polling and self._machine.is_ready:
            self._reconnects.on_complete()
        return changes

    def _connect(self) -> None:
        """Connect to the changes socket."""
        if self._changes_endpoint is None:
            self._changes_endpoint = changes_endpoint(self.stream.endpoint, self._machine.changes_endpoints)
        self._socket.open(self._changes_endpoint)

    def _take_published(self) -> list[Change]:
        """Process what was published, and the end of the connection; return the changes to deliver."""
        follower = self._machine.follower
        if self._socket.channel is None or follower is None:
            return []
        changes: list[Change] = []
        for topic, body in self._socket.receive():
            if topic.startswith(wire.CHANGE_TOPIC):
                changes += follower.on_change(wire.decode_change(body))
                continue
            kind, *rest = wire.decode_control(body)
            if kind == "HEARTBEAT":
                follower.on_heartbeat(rest[0])
                self._reconnects.on_complete()
        if self._socket.is_denied:
            self._socket.close()
            self._machine.on_denied()
        elif self._socket.is_lost:
            self._on_loss()
        return changes

    def _on_loss(self) -> None:
        """Start again soon, from the revision reached: the daemon is gone."""
        self._socket.close()
        self._machine.on_loss()
        self._reconnects.on_loss(time.monotonic())
