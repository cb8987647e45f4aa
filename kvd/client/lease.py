"""The decisions of a lock, without I/O: the next command, and the meaning of its answer. `Lock` and `AsyncLock` send.

A lock is an entry with an expiry. Its value identifies one holding and is unique, so after a lost reply the entry shows
whether the write took effect.

* `Claim` acquires: SET NX. When another client holds the lock, ENTRY and then CHANGES, from the revision of ENTRY's
  reply until the entry is gone. ENTRY returns the newest revision: a lock can be held for longer than its own change is
  kept, so waiting from the revision of the entry would be refused as compacted again and again.
* `Lease` holds: a transaction on the revision of the entry renews the expiry or deletes the entry. A renewal gives the
  entry a new revision; the fencing number stays that of the acquiring write.

Times are seconds of a clock that the caller reads. The holder counts from before a command was sent, the daemon from
when it ran: the holder loses a lock before the daemon can free it, unless the daemon's clock jumps forwards. The
fencing number covers that case.
"""

from collections.abc import Callable
from typing import Any

from kvd import wire
from kvd.commands import Command
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Ok
from kvd.commands.changes import Changes
from kvd.commands.expiry import Expire
from kvd.commands.keys import EntryOf
from kvd.commands.values import Clear, Set
from kvd.errors import (
    BadArgument,
    Busy,
    Compacted,
    Conflict,
    Internal,
    KvdError,
    LockLost,
    OutcomeUnknown,
    ShuttingDown,
)
from kvd.limits import WAIT_MS_MAX

ENDS = frozenset({"CLEAR", "EXPIRED"})  # kinds of changes that remove a key

PAUSE_S = 0.1


class Claim:
    """Acquires a lock. Send `command`, then call `on_answer` or `on_error`, until `fencing` is not 0."""

    def __init__(self, key: bytes, value: bytes, ttl_ms: int) -> None:
        self.key = key
        self.value = value
        self.ttl_ms = ttl_ms
        self.fencing = 0
        self.until = 0.0
        self._step: Callable[[Ok, float], None] = self._on_set  # processes the next answer
        self._since = 0
        self._entry: dict[str, Any] = {}
        self._sent_at = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether another client holds the lock. If not, a write of this claim may have taken effect."""
        return self._step == self._on_changes

    def command(self, token: bytes, now: float, rest_s: float | None) -> Command:
        """Return the command to send. `token` makes a write repeatable; `rest_s` is how long to wait at most."""
        self._sent_at = now
        if self._step == self._on_changes:
            wait_ms = WAIT_MS_MAX if rest_s is None else min(WAIT_MS_MAX, max(1, int(rest_s * 1000)))
            return Changes(self._since, self.key, None, wait_ms)
        if self._step == self._on_entry:
            return EntryOf(self.key, value=True)
        if self._step == self._on_adoption:
            return Once(token, Transaction([(self.key, self._entry["revision"])], [Expire(self.key, self.ttl_ms)]))
        return Once(token, Set(self.key, self.value, self.ttl_ms, nx=True))

    def on_answer(self, answer: Ok, now: float) -> None:
        """Process an answer."""
        self._step(answer, now)

    def on_error(self, error: KvdError) -> float:
        """Process an error; return how long to pause before the next command. Raises an error that no retry cures."""
        if isinstance(error, Busy | ShuttingDown):
            return PAUSE_S
        if self.is_waiting and isinstance(error, Compacted | BadArgument):
            self._step = self._on_set  # the changes are gone, or the daemon was restored
        elif not self.is_waiting and isinstance(error, Conflict | OutcomeUnknown | Internal):
            self._step = self._on_entry
        else:
            raise error
        return 0.0

    def _on_set(self, answer: Ok, now: float) -> None:
        self._acquire(answer.revision, now)

    def _on_entry(self, answer: Ok, now: float) -> None:  # noqa: ARG002  # the signature of every step
        """See whether the entry is ours after all; if not, wait until it is gone."""
        self._step = self._on_set
        if answer.result is not None:
            is_ours = answer.result["value"] == self.value
            self._entry, self._since = answer.result, answer.revision
            self._step = self._on_adoption if is_ours else self._on_changes

    def _on_adoption(self, answer: Ok, now: float) -> None:  # noqa: ARG002  # the signature of every step
        """The entry was ours, set at an unknown time; now its expiry is known."""
        self._acquire(self._entry["created"], now)

    def _on_changes(self, answer: Ok, now: float) -> None:  # noqa: ARG002  # the signature of every step
        """Try again when the entry is gone; a renewal is a SET."""
        self._since = answer.revision
        if any(each.key == self.key and each.kind in ENDS for each in wire.changes_in(answer.result)):
            self._step = self._on_set

    def _acquire(self, fencing: int, now: float) -> None:
        """Take the lock, unless the answer came so late that the lock may have expired."""
        until = self._sent_at + self.ttl_ms / 1000
        if now < until:
            self.fencing, self.until = fencing, until
        else:
            self._step = self._on_entry


class Lease:
    """An acquired lock. `lost` says why it is no longer held; a lost lock stays lost."""

    def __init__(self, claim: Claim) -> None:
        self.key = claim.key
        self.value = claim.value
        self.ttl_ms = claim.ttl_ms
        self.fencing = claim.fencing
        self.until = claim.until
        self.lost: LockLost | None = None
        self.is_released = False
        self._revision = claim.fencing
        self._must_read = False

    @property
    def ttl_s(self) -> float:
        """The time from a renewal to the expiry."""
        return self.ttl_ms / 1000

    def problem(self, now: float) -> LockLost | None:
        """Return why the lock is not held, or None. A lock that was not renewed in time is lost."""
        if self.lost is None and not self.is_released and now >= self.until:
            self._lose("it was not renewed in time: the daemon was away, or this process stood still")
        return self.lost

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = LockLost(f"the lock {self.key.decode(errors='backslashreplace')!r} is lost: {reason}")

    def renewal(self, token: bytes) -> Command:
        """Return the command that renews the lock, or that reads the entry."""
        if self._must_read:
            return EntryOf(self.key, value=True)
        expire = Expire(self.key, self.ttl_ms)
        return Once(token, Transaction([(self.key, self._revision)], [expire]))

    def release(self, token: bytes) -> Command:
        """Return the command that releases the lock, or that reads the entry."""
        if self._must_read:
            return EntryOf(self.key, value=True)
        return Once(token, Transaction([(self.key, self._revision)], [Clear([self.key])]))

    def on_answer(self, answer: Ok, sent_at: float) -> bool:
        """Process an answer; return whether it was the last one. False: send the command after it, too."""
        if not self._must_read:
            self._revision = answer.revision
            self.until = max(self.until, sent_at + self.ttl_s)
            return True
        self._must_read = False
        if answer.result is None:
            self._lose("it expired, or somebody cleared it")
        elif answer.result["value"] != self.value:
            self._lose("somebody else holds it")
        else:
            self._revision = answer.result["revision"]
        return self.lost is not None

    def on_error(self, error: KvdError) -> bool:
        """Read the entry next; return whether to do so at once."""
        self._must_read = True
        return isinstance(error, Conflict)
