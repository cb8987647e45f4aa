"""Which published changes may be delivered: the heart of `watch`. Pure; knows no socket and no clock.

The publish socket drops messages for a slow reader, silently; the journal drops none. The follower decides
when a published change is provably the next one, and else asks for the span (CHANGES). The proof:

* libzmq drops a message for us only when our queue at the daemon is full. It counts what we have taken in
  steps of half the queue, so at least half a queue of messages, all older than the dropped one, is then
  still under way to us, and reaches us before anything that is newer.
* A *probe* is a PING followed by a CHANGES. Let `anchor` be the newest revision we had received when we
  sent it. When the daemon answered, only messages after the anchor can have been under way; and all
  changes up to PING's revision are in the answer to CHANGES, or we ask again.
* So from then on, a change of revision r that comes while `r - anchor` plus the control messages received
  since is less than half a queue (we take a quarter) cannot have lost a sibling before it. The same goes for
  a heartbeat.

A new connection proves nothing: `disconnected` forgets the anchor, the position stays. Nor does an answer to
a probe that was begun on the connection before: `connection` numbers them, for whoever carries the answers.
"""

from kvd.commands.model import Change
from kvd.limits import UNCONFIRMED_CHANGES_MAX

# Between the step of half a queue and our queue's being filled again the daemon may drop for a while still: it looks
# for the step once in 3 M ticks of the CPU (libzmq's max_command_delay, 1 ms), in which we take some thousand messages.
MARGIN_PART = 4


class Follower:
    """Delivers each matching change after `position` once, in order, none skipped."""

    def __init__(self, prefixes: list[bytes], since: int | None, queue_max: int) -> None:
        """`since` None: from the first heartbeat on. `queue_max` is the daemon's queue for each subscriber."""
        self.prefixes = tuple(prefixes)
        self.position = since
        self.provable = max(1, queue_max // MARGIN_PART)
        self.connection = 0
        self.on_disconnect()

    def on_disconnect(self) -> None:
        """The publish socket's connection is gone, or new."""
        self.connection += 1
        self.seen: int | None = None
        self.anchor: int | None = None
        self.controls = 0
        self.is_probing = False
        self.probe_seen = 0
        self.has_gap = True
        self.unconfirmed: list[Change] = []
        self.has_overflowed = False

    @property
    def is_complete(self) -> bool:
        """Return whether nothing can be missed any more."""
        return self.seen is not None and not self.has_gap

    def heartbeat(self, revision: int) -> None:
        """A heartbeat came: all up to the revision has been published."""
        self.controls += 1
        if self.position is None:
            self.position = revision
        self.seen = max(self.seen or 0, revision)
        self._reach(revision)

    def change(self, change: Change) -> list[Change]:
        """A change came; return what is to be delivered."""
        if self.seen is None or self.position is None:
            return []  # before the first heartbeat: the probe will bring it, or it is older than the start
        self.seen = max(self.seen, change.revision)
        if change.revision <= self.position:
            return []
        if not self.has_gap and self._is_provable(change.revision):
            self.position = change.revision
            return [change]
        self.has_gap = True
        self._hold(change)
        return []

    def _hold(self, change: Change) -> None:
        """Keep a change that is not proven yet; when there are too many, the next probe will bring them."""
        if len(self.unconfirmed) >= UNCONFIRMED_CHANGES_MAX:
            self.has_overflowed = True
        if not self.has_overflowed:
            self.unconfirmed.append(change)

    def _reach(self, revision: int) -> None:
        """All up to the revision has been published: move there if that proves anything."""
        assert self.position is not None
        if revision > self.position:
            if not self.has_gap and self._is_provable(revision):
                self.position = revision
            else:
                self.has_gap = True

    def _is_provable(self, revision: int) -> bool:
        """Return whether nothing before a message of this revision can have been dropped."""
        return self.anchor is not None and revision - self.anchor + self.controls < self.provable

    def begin_probe(self) -> int | None:
        """Return since when to ask, if a probe is due: PING, then CHANGES. Tell the answer to `probed`."""
        if self.is_probing or self.seen is None or self.position is None:
            return None
        if not self.has_gap and self._is_provable(self.seen + self.provable // 2):
            return None
        self.is_probing = True
        self.probe_seen = self.seen
        self.controls_before = self.controls
        return self.position

    def on_probed(self, head: int, upto: int, changes: list[Change]) -> list[Change]:
        """The answer came: PING's revision, that of CHANGES, and its changes; return what is to be delivered."""
        if not self.is_probing:
            return []  # it was asked for on a connection that is gone
        assert self.position is not None
        self.is_probing = False
        delivered = [change for change in changes if change.revision > self.position and self.matches(change)]
        self.position = max(self.position, upto)
        if upto < head:
            return delivered  # cut by a limit: the gap stays, the next probe goes on
        self.anchor = self.probe_seen
        self.controls -= self.controls_before
        return delivered + self.confirm()

    def confirm(self) -> list[Change]:
        """Deliver what was kept and is proven now."""
        assert self.position is not None
        assert self.seen is not None
        waiting, self.unconfirmed = self.unconfirmed, []
        self.has_gap = self.has_overflowed
        self.has_overflowed = False
        delivered: list[Change] = []
        for change in waiting:
            if change.revision <= self.position:
                continue
            if not self.has_gap and self._is_provable(change.revision):
                self.position = change.revision
                delivered.append(change)
            else:
                self.has_gap = True
                self._hold(change)
        return delivered

    def probe_failed(self) -> None:
        """No answer came: probe again when asked."""
        self.is_probing = False

    def matches(self, change: Change) -> bool:
        """Return whether a change is of a key that is followed."""
        return change.key.startswith(self.prefixes)


def common_prefix(prefixes: list[bytes]) -> bytes:
    """Return the longest prefix that all have, for one CHANGES that brings them all."""
    low, high = min(prefixes), max(prefixes)
    return low[: next((at for at, byte in enumerate(low) if high[at] != byte), len(low))]
