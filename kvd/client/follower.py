"""Which published changes a watch may deliver. Pure: no socket and no clock.

The publish socket silently drops messages for a slow reader; the journal drops none. The follower decides when a
published change is provably the next one, and otherwise asks for the span (CHANGES). The proof:

* libzmq drops a message for a subscriber only when the subscriber's queue at the daemon is full. It counts the messages
  that the subscriber took in steps of half the queue. So at least half a queue of messages, all older than the dropped
  one, is still in transit, and arrives before anything newer.
* A *probe* is a PING followed by a CHANGES. Let `anchor` be the newest revision received when the probe was sent. When
  the daemon answered, only messages after the anchor can have been in transit; and the reply to CHANGES has all changes
  up to PING's revision, or else the probe is repeated.
* From then on, let a change of revision r arrive while `r - anchor`, plus the number of control messages since, is less
  than half a queue (the code uses a quarter). Then no sibling before it can have been lost. The same holds for a
  heartbeat.

A new connection proves nothing: `on_disconnect` forgets the anchor and keeps the position. Nor does the reply to a
probe that was sent over the previous connection: `connection` numbers the connections, for callers that match replies.

The alternative is to read the journal alone (journal_poller.py), at the price of a round trip for each change. The
proof depends on libzmq's flow control: another library, or a change there, needs another proof or none of this file.
"""

from kvd.commands.model import Change
from kvd.limits import UNCONFIRMED_CHANGES_MAX

# After a step of half a queue the daemon may drop for a while longer, until it notices the step: libzmq looks once in
# 3 M ticks of the CPU (its max_command_delay, 1 ms). In that time a client takes some thousand messages.
MARGIN_PART = 4


class Follower:
    """Delivers each matching change after `position` once, in order, without gaps."""

    def __init__(self, prefixes: list[bytes], since: int | None, queue_max: int) -> None:
        """`since` None: start at the first heartbeat. `queue_max`: the daemon's queue for each subscriber."""
        self.prefixes = tuple(prefixes)
        self.position = since
        self.provable = max(1, queue_max // MARGIN_PART)
        self.connection = 0
        self.on_disconnect()

    def on_disconnect(self) -> None:
        """Forget the proof: the publish socket's connection is lost, or new."""
        self.connection += 1
        self.seen: int | None = None
        self.anchor: int | None = None
        self.controls = 0
        self.is_probing = False
        self.has_gap = True
        self.unconfirmed: list[Change] = []
        self.has_overflowed = False

    @property
    def is_complete(self) -> bool:
        """Whether no change can be missed any more."""
        return self.seen is not None and not self.has_gap

    def on_heartbeat(self, revision: int) -> None:
        """Process a heartbeat: all changes up to `revision` have been published."""
        self.controls += 1
        if self.position is None:
            self.position = revision
        self.seen = max(self.seen or 0, revision)
        self._reach(revision)

    def on_change(self, change: Change) -> list[Change]:
        """Process a published change; return the changes to deliver."""
        if self.seen is None or self.position is None:
            return []  # before the first heartbeat: a probe will return it, or it is older than the start
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
        """Keep a change that is not proven yet. Beyond the bound, the next probe returns the changes."""
        if len(self.unconfirmed) >= UNCONFIRMED_CHANGES_MAX:
            self.has_overflowed = True
        if not self.has_overflowed:
            self.unconfirmed.append(change)

    def _reach(self, revision: int) -> None:
        """Move to a revision up to which all changes have been published, if that is proven."""
        assert self.position is not None
        if revision > self.position:
            if not self.has_gap and self._is_provable(revision):
                self.position = revision
            else:
                self.has_gap = True

    def _is_provable(self, revision: int) -> bool:
        """Return whether no message before this revision can have been dropped."""
        return self.anchor is not None and revision - self.anchor + self.controls < self.provable

    def begin_probe(self) -> int | None:
        """Return the revision to ask from, if a probe is due: PING, then CHANGES. Give the replies to `on_probed`."""
        if self.is_probing or self.seen is None or self.position is None:
            return None
        if not self.has_gap and self._is_provable(self.seen + self.provable // 2):
            return None
        self.is_probing = True
        self._probed = (self.seen, self.controls)
        return self.position

    def on_probed(self, head: int, upto: int, changes: list[Change]) -> list[Change]:
        """Process the replies to a probe (PING's revision; CHANGES' revision and changes); return what to deliver."""
        if not self.is_probing:
            return []  # the probe was sent over a connection that is lost
        assert self.position is not None
        self.is_probing = False
        delivered = [change for change in changes if change.revision > self.position and self.matches(change)]
        self.position = max(self.position, upto)
        if upto < head:
            return delivered  # cut by a limit: the gap stays, and the next probe continues
        self.anchor, controls_before = self._probed
        self.controls -= controls_before
        return delivered + self._confirm()

    def _confirm(self) -> list[Change]:
        """Deliver the kept changes that are proven now."""
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

    def move_to(self, position: int) -> None:
        """Record that the changes up to a revision have been delivered in another way."""
        self.position = position

    def on_probe_failed(self) -> None:
        """Allow the next probe: no reply came."""
        self.is_probing = False

    def matches(self, change: Change) -> bool:
        """Return whether a followed prefix has the key of a change."""
        return change.key.startswith(self.prefixes)


def common_prefix(prefixes: list[bytes]) -> bytes:
    """Return the longest common prefix: one CHANGES of it covers all the prefixes."""
    low, high = min(prefixes), max(prefixes)
    return low[: next((at for at, byte in enumerate(low) if high[at] != byte), len(low))]
