"""Decides what a watch asks the daemon, and which changes it delivers. Pure: no sockets and no clock.

    INFO  ->  the pages of the snapshot, if one is wanted  ->  published changes, with probes for what is not proven
                                                           or  the journal alone, where the changes socket is denied

`Snapshot`, `Prober` and `JournalPoller` have one interface: `next_questions` returns what to ask now, and each question
carries the method that processes its reply. After a loss the watch asks INFO again, and resumes where it was.
"""

from collections.abc import Callable
from typing import Any

from kvd import wire
from kvd.client.follower import Follower
from kvd.client.journal_poller import JournalPoller
from kvd.client.prober import Prober
from kvd.client.question import Question
from kvd.client.selection import SNAPSHOT_END, Selection
from kvd.client.snapshot import Snapshot
from kvd.commands.base import Error, Ok
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.commands.server import Info
from kvd.errors import BadArgument, Compacted, HistoryChanged, Refused

_PASSING = ("BUSY", "SHUTTING_DOWN")


class WatchMachine:
    """Follows a selection. Its errors are those of `Watch`."""

    def __init__(
        self,
        selection: Selection,
        *,
        since: int | None,
        history: str | None,
        has_snapshot: bool,
        on_history: Callable[[str], None],
    ) -> None:
        self.follower: Follower | None = None
        self.history: str | None = None
        self._selection = selection
        self._since = since
        self._expected = history
        self._on_history = on_history
        self._snapshot = Snapshot(selection.topics) if has_snapshot else None
        self._prober: Prober | None = None
        self._poller: JournalPoller | None = None  # only while the changes socket is denied
        self._server: dict[str, Any] = {}  # the section of INFO
        self._is_known = False  # whether INFO has been answered since the last loss
        self._is_mark_due = False

    @property
    def is_ready(self) -> bool:
        """Whether no change can be missed any more."""
        if self._poller is not None:
            return self._poller.is_complete
        return self.follower is not None and self.follower.is_complete

    @property
    def is_polling(self) -> bool:
        """Whether the journal alone is followed."""
        return self._poller is not None

    @property
    def wants_published(self) -> bool:
        """Whether the changes socket has to be connected."""
        return self._is_known and self.follower is not None and self._poller is None

    @property
    def changes_endpoints(self) -> list[str]:
        """The endpoints of the changes socket, as INFO announces them."""
        return self._server["changes_endpoints"]  # type: ignore[no-any-return]

    @property
    def reached(self) -> int | None:
        """The revision that is reached; None where the watch starts now and the daemon has not answered yet."""
        position = None if self.follower is None else self.follower.position
        return position if position is not None else self._since

    @property
    def known_history(self) -> str | None:
        """The daemon's history, or the expected one until the daemon has answered."""
        return self.history or self._expected

    def first_question(self) -> Question:
        """Return the question about the store and its changes socket."""
        return Question(Info("server"), self._on_info)

    def next_questions(self) -> list[Question]:
        """Return what to ask now."""
        if self._poller is not None and self.follower is not None:
            connection = self.follower.connection
            return [question._replace(connection=connection) for question in self._poller.next_questions()]
        if self._prober is not None:
            return self._prober.next_questions()
        if self._snapshot is not None and self._is_known:
            return self._snapshot.next_questions()
        return []

    def is_stale(self, question: Question) -> bool:
        """Return whether a question is about a connection that has been lost."""
        return self.follower is not None and question.connection not in (None, self.follower.connection)

    def on_reply(self, question: Question, reply: Ok) -> list[Change]:
        """Process a reply; return the changes it brings. Raises HistoryChanged."""
        changes = question.on_reply(reply)
        if self._poller is not None and self.follower is not None:
            self.follower.move_to(self._poller.position)
        if self._snapshot is not None and self._snapshot.is_complete and self.follower is None:
            self._is_mark_due = self._selection.has_mark
            self._start_following()
        return changes

    def on_error(self, question: Question, error: Error) -> bool:
        """Raise the daemon's error, unless it passes; return whether to start again with INFO."""
        try:
            wire.raise_error(error)
        except BadArgument as refusal:
            if isinstance(question.command, Changes):
                raise HistoryChanged(f"the daemon has another history: {refusal.message}") from refusal
            raise
        except Compacted as refusal:
            # The changes socket may have brought the compacted changes during the probe: then nothing is missed.
            if self.follower is None or (self.follower.position or 0) < refusal.details["compacted"]:
                raise
            self.follower.on_probe_failed()
        except Refused as refusal:
            if refusal.code not in _PASSING:
                raise
            return True
        return False

    def on_denied(self) -> None:
        """Poll the journal: the changes socket rejects us. CHANGES says Denied for a prefix that we may not read."""
        assert self.follower is not None
        self.follower.on_disconnect()
        position = self.follower.position
        self._poller = JournalPoller(self._selection.topics, self._server["revision"] if position is None else position)

    def on_loss(self) -> None:
        """Forget what depends on the connection: the daemon is gone."""
        self._is_known = False
        self._poller = None
        if self._snapshot is not None:
            self._snapshot.on_loss()
        if self.follower is not None:
            self.follower.on_disconnect()

    def restart(self, since: int | None) -> None:
        """Follow again from a revision, from INFO on; a snapshot starts again."""
        self._is_known = False
        self._since = since
        self.follower = self._prober = self._poller = None
        if self._snapshot is not None:
            self._snapshot = Snapshot(self._selection.topics)

    def deliver(self, changes: list[Change]) -> list[Change]:
        """Return the changes that are selected and not in the snapshot, followed by its mark when that is due."""
        if self._snapshot is not None and self.follower is not None:
            changes = [change for change in changes if change.time == 0 or not self._snapshot.covers(change)]
            if self._is_mark_due:
                self._is_mark_due = False
                changes.append(Change(SNAPSHOT_END, self._since or 0, b"", None, 0, None, 0))
        return self._selection.apply(changes)

    def _on_info(self, reply: Ok) -> list[Change]:
        """Check that the store is the same, and start to read the snapshot or to follow."""
        server = reply.result["server"]
        is_first = self.history is None
        self._check_history(server["history"])
        self._is_known = True
        self._server["revision"] = server["revision"]
        if self.follower is None:
            self._server = server
            if self._snapshot is None:
                self._start_following()
            elif is_first or self._since is None:
                self._since = server["revision"]
        return []

    def _check_history(self, history: str) -> None:
        """Raise HistoryChanged when the daemon has another history."""
        self._on_history(history)
        expected = self.known_history
        if expected not in (None, history):
            raise HistoryChanged(
                f"the daemon has the history {history}, not {expected}: it was restored, or it is another store. "
                "Read the keys again, and watch without a revision"
            )
        self.history = history

    def _start_following(self) -> None:
        self.follower = Follower(self._selection.topics, self._since, self._server["publish_queue"])
        self._prober = Prober(self.follower)
