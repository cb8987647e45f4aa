"""A mirror: the entries of a prefix as a read-only mapping that a background thread keeps up to date.

It reads from memory, so a lookup costs no round trip. While the daemon is away it serves what it has. It begins again
from a new snapshot where a watch ends: after a compaction of the journal, and when the store has another history.
"""

import os
import threading
import weakref
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Self, TypeVar, overload

from kvd.client.context import ContextManaged
from kvd.client.replica import Replica
from kvd.client.results import decode_change
from kvd.client.values import Codec, K, Text, V, key_bytes
from kvd.client.watch import Watch
from kvd.commands.model import Change
from kvd.errors import Busy, ClientError, Compacted, HistoryChanged, KvdError, NoReply, NotLetIn, ShuttingDown
from kvd.limits import RECONNECT_MS, RECONNECT_MS_MAX

T = TypeVar("T")
OnChange = Callable[[Change], object]
REVISION_DELAY_S = 1.0
REASON_WAIT_S = 1.0  # a watch gives up at the timeout: then its reason is awaited


class MirrorView(Mapping[K, V]):
    """What `Mirror` and `AsyncMirror` have in common: the mapping. Values are decoded at each read."""

    _codec: Codec[Any, Any]

    def _replica(self) -> Replica:
        """Return what is complete. Raises KvdError."""
        raise NotImplementedError

    def __getitem__(self, key: Text) -> V:  # type: ignore[override]  # as a client, it takes str and bytes
        """Return the value of a key. Raises KeyError when there is none."""
        change = self._replica().entries.get(key_bytes(key))
        if change is None:
            raise KeyError(key)
        return self._codec.value(change.value or b"")  # type: ignore[no-any-return]

    @overload  # type: ignore[override]
    def get(self, key: Text) -> V | None: ...
    @overload
    def get(self, key: Text, default: V | T) -> V | T: ...
    def get(self, key: Text, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        """Return whether a key exists."""
        return isinstance(key, str | bytes) and key_bytes(key) in self._replica().entries

    def __iter__(self) -> Iterator[K]:
        """Yield the keys that are there now."""
        return (self._codec.key(key) for key in list(self._replica().entries))

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._replica().entries)

    def items(self) -> ItemsView[K, V]:
        """Return the pairs that are there when they are iterated over."""
        return MirrorItems(self)  # type: ignore[arg-type]  # keys are of type Text

    def values(self) -> ValuesView[V]:
        """Return the values that are there when they are iterated over."""
        return MirrorValues(self)

    def copy(self) -> dict[K, V]:
        """Return all pairs as of one moment."""
        return {self._codec.key(change.key): self._codec.value(change.value or b"") for change in self._changes()}

    def _changes(self) -> list[Change]:
        """Return the changes that set the entries."""
        return list(self._replica().entries.values())


class MirrorItems(ItemsView[K, V]):
    """The pairs of a mirror; a change meanwhile does not disturb the iteration."""

    _mapping: MirrorView[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        """Yield the pairs."""
        return iter(self._mapping.copy().items())


class MirrorValues(ValuesView[V]):
    """The values of a mirror; a change meanwhile does not disturb the iteration."""

    _mapping: MirrorView[Any, V]

    def __iter__(self) -> Iterator[V]:
        """Yield the values."""
        return iter(self._mapping.copy().values())


def notify(on_change: OnChange | None, codec: Codec[Any, Any], differences: list[Change]) -> None:
    """Call the function of the user's. Raises KvdError from what it raises."""
    if on_change is None:
        return
    for difference in differences:
        change = decode_change(codec, difference)
        try:
            on_change(change)
        except Exception as error:
            raise KvdError(f"the mirror ended: on_change raised {error!r}") from error


def is_fatal(error: Exception) -> bool:
    """Return whether a mirror ends by an error, instead of beginning again."""
    if isinstance(error, ClientError):
        return isinstance(error, NotLetIn)
    return not isinstance(error, Compacted | Busy | ShuttingDown)


class Mirror(MirrorView[K, V], ContextManaged):
    """The entries of some prefixes, kept up to date. `Client.mirror` returns one; any thread may read it.

    The first read waits until the mirror is complete. A forked child follows the daemon by a thread of its own.
    """

    def __init__(
        self, make_watch: Callable[[], Watch], codec: Codec[Any, Any], timeout: float, on_change: OnChange | None
    ) -> None:
        """`make_watch` returns a watch with a snapshot and its mark, whose values are bytes."""
        self._codec = codec
        self._make_watch = make_watch
        self._timeout = timeout
        self._on_change = on_change
        self._is_closed = False
        self._followers: dict[int, _Follower] = {}  # by process
        self._follower()

    def ready(self, timeout: float | None = None) -> int:
        """Wait until all entries are there; return the revision. `timeout` in seconds (default: the client's).

        Raises what kept it from being ready.
        """
        follower = self._follower()
        follower.wait(self._timeout + REASON_WAIT_S if timeout is None else timeout)
        return follower.revision

    @property
    def revision(self) -> int:
        """Return a revision up to which all changes are in the mirror; it may be a second behind."""
        return self._follower().revision

    def close(self) -> None:
        """Follow the daemon no more. Reads raise KvdError then."""
        self._is_closed = True
        follower = self._followers.pop(os.getpid(), None)
        if follower is not None:
            follower.stop()
            follower.join()

    def __enter__(self) -> Self:
        """Wait until all entries are there."""
        try:
            self.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __repr__(self) -> str:
        """Return how far it is."""
        follower = self._followers.get(os.getpid())
        return f"<Mirror at revision {0 if follower is None else follower.revision}>"

    def _replica(self) -> Replica:
        """Return what is complete. Raises KvdError."""
        follower = self._followers.get(os.getpid()) or self._follower()
        if not follower.replica.is_complete or follower.error is not None:
            follower.wait(self._timeout + REASON_WAIT_S)
        return follower.replica

    def _follower(self) -> "_Follower":
        """Return what follows the daemon in this process; begin if nothing does. Raises KvdError."""
        if self._is_closed:
            raise KvdError("the mirror is closed")
        pid = os.getpid()
        found = self._followers.get(pid)
        if found is None:
            made = _Follower(self._make_watch, self._codec, self._on_change)
            found = self._followers.setdefault(pid, made)  # of two threads that come here, one wins
            if found is made:
                weakref.finalize(self, made.stop).atexit = False
                made.thread.start()
        return found


class _Follower:
    """Keeps a replica up to date in a thread. It does not hold the mirror, so a mirror that is dropped ends it."""

    def __init__(self, make_watch: Callable[[], Watch], codec: Codec[Any, Any], on_change: OnChange | None) -> None:
        self.replica = Replica()
        self.revision = 0
        self.error: Exception | None = None  # the mirror ended by it
        self.thread = threading.Thread(target=self._run, name="kvd mirror", daemon=True)
        self._make_watch = make_watch
        self._codec = codec
        self._on_change = on_change
        self._problem: Exception | None = None  # it goes on in spite of it
        self._watch: Watch | None = None
        self._settled = threading.Event()
        self._stopped = threading.Event()
        self._pid = os.getpid()

    def wait(self, timeout_s: float) -> None:
        """Wait until the replica is complete. Raises what kept it from that."""
        is_settled = self._settled.wait(timeout_s)
        if self.error is not None:
            raise self.error
        if not is_settled:
            raise self._problem or NoReply("the entries of the mirror did not come in time")

    def stop(self) -> None:
        """End the thread."""
        if self._pid != os.getpid():
            return  # the parent's watch is not ours to stop
        self._stopped.set()
        watch = self._watch
        if watch is not None:
            watch.stop()

    def join(self) -> None:
        """Wait for the end of the thread, unless this is it."""
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def _run(self) -> None:
        """Follow, and begin again, until an error that does not pass."""
        pause_s = RECONNECT_MS / 1000
        while not self._stopped.is_set():
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001  # raised to whoever reads
                if is_fatal(error):
                    self.error = error
                    self._settled.set()
                    return
                self._problem = error
                pause_s = RECONNECT_MS / 1000 if isinstance(error, Compacted | HistoryChanged) else pause_s * 2
                self._stopped.wait(min(pause_s, RECONNECT_MS_MAX / 1000))

    def _follow(self) -> None:
        """Follow one watch to its end."""
        with self._make_watch() as watch:
            self._watch = watch
            self.replica.begin()
            while not self._stopped.is_set():
                changes = watch.take(REVISION_DELAY_S)
                differences = [each for change in changes for each in self.replica.apply(change)]
                if not self.replica.is_gathering:
                    self.revision = watch.revision
                    self._settled.set()
                notify(self._on_change, self._codec, differences)
