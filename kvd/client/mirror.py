"""A mirror: the entries of some prefixes as a read-only mapping that a background thread keeps up to date.

A lookup reads memory, without a round trip. While the daemon is away, the mirror serves the entries it has. Where a
watch ends (the journal was compacted, or the store has another history), it starts again from a new snapshot.
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
REASON_WAIT_S = 1.0  # a watch gives up at the client's timeout: this is the time for its error to arrive


class MirrorView(Mapping[K, V]):
    """The mapping that `Mirror` and `AsyncMirror` share. Values are decoded at each read."""

    _codec: Codec[Any, Any]

    def _replica(self) -> Replica:
        """Return the complete replica. Raises KvdError."""
        raise NotImplementedError

    def __getitem__(self, key: Text) -> V:  # type: ignore[override]  # as a client, it takes str and bytes
        """Return the value of a key. Raises KeyError when it is missing."""
        change = self._replica().entries.get(key_bytes(key))
        if change is None:
            raise KeyError(key)
        return self._codec.value(change.value or b"")  # type: ignore[no-any-return]

    @overload  # type: ignore[override]
    def get(self, key: Text) -> V | None: ...
    @overload
    def get(self, key: Text, default: V | T) -> V | T: ...
    def get(self, key: Text, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | bytes) and key_bytes(key) in self._replica().entries

    def __iter__(self) -> Iterator[K]:
        """Yield the keys of this moment."""
        return (self._codec.key(key) for key in list(self._replica().entries))

    def __len__(self) -> int:
        return len(self._replica().entries)

    def items(self) -> ItemsView[K, V]:
        """Return the pairs; an iteration yields those of its start."""
        return MirrorItems(self)  # type: ignore[arg-type]  # keys are of type Text

    def values(self) -> ValuesView[V]:
        """Return the values; an iteration yields those of its start."""
        return MirrorValues(self)

    def copy(self) -> dict[K, V]:
        """Return all pairs as of one moment."""
        return {self._codec.key(change.key): self._codec.value(change.value or b"") for change in self._changes()}

    def _changes(self) -> list[Change]:
        return list(self._replica().entries.values())


class MirrorItems(ItemsView[K, V]):
    """The pairs of a mirror. A change does not disturb an iteration."""

    _mapping: MirrorView[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return iter(self._mapping.copy().items())


class MirrorValues(ValuesView[V]):
    """The values of a mirror. A change does not disturb an iteration."""

    _mapping: MirrorView[Any, V]

    def __iter__(self) -> Iterator[V]:
        return iter(self._mapping.copy().values())


def notify(on_change: OnChange | None, codec: Codec[Any, Any], differences: list[Change]) -> None:
    """Call the user's function with each difference. Its exception is raised as KvdError."""
    if on_change is None:
        return
    for difference in differences:
        change = decode_change(codec, difference)
        try:
            on_change(change)
        except Exception as error:
            raise KvdError(f"the mirror ended: on_change raised {error!r}") from error


def is_fatal(error: Exception) -> bool:
    """Return whether an error ends a mirror, which otherwise starts again."""
    if isinstance(error, ClientError):
        return isinstance(error, NotLetIn)
    return not isinstance(error, Compacted | Busy | ShuttingDown)


class Mirror(MirrorView[K, V], ContextManaged):
    """The entries of some prefixes, kept up to date. `Client.mirror` returns one; any thread may read it.

    The first read waits until the mirror is complete. A forked child follows the daemon in a thread of its own.
    """

    def __init__(
        self, make_watch: Callable[[], Watch], codec: Codec[Any, Any], timeout: float, on_change: OnChange | None
    ) -> None:
        """`make_watch` returns a watch with a snapshot and its mark; its values are bytes."""
        self._codec = codec
        self._make_watch = make_watch
        self._timeout = timeout
        self._on_change = on_change
        self._is_closed = False
        self._followers: dict[int, _Follower] = {}  # by process
        self._follower()

    def ready(self, timeout: float | None = None) -> int:
        """Wait until the mirror has all entries; return its revision. `timeout` in seconds (default: the client's).

        Raises the error that prevented it.
        """
        follower = self._follower()
        follower.wait(self._timeout + REASON_WAIT_S if timeout is None else timeout)
        return follower.revision

    @property
    def revision(self) -> int:
        """A revision up to which the mirror has all changes; it may be a second behind."""
        return self._follower().revision

    def close(self) -> None:
        """Stop following the daemon. Reads then raise KvdError."""
        self._is_closed = True
        follower = self._followers.pop(os.getpid(), None)
        if follower is not None:
            follower.stop()
            follower.join()

    def __enter__(self) -> Self:
        """Wait until the mirror is complete."""
        try:
            self.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __repr__(self) -> str:
        follower = self._followers.get(os.getpid())
        return f"<Mirror at revision {0 if follower is None else follower.revision}>"

    def _replica(self) -> Replica:
        """Return the complete replica. Raises KvdError."""
        follower = self._followers.get(os.getpid()) or self._follower()
        if not follower.replica.is_complete or follower.error is not None:
            follower.wait(self._timeout + REASON_WAIT_S)
        return follower.replica

    def _follower(self) -> "_Follower":
        """Return the follower of this process; start one if there is none. Raises KvdError."""
        if self._is_closed:
            raise KvdError("the mirror is closed")
        pid = os.getpid()
        follower = self._followers.get(pid)
        if follower is None:
            new = _Follower(self._make_watch, self._codec, self._on_change)
            follower = self._followers.setdefault(pid, new)  # of two threads, one wins
            if follower is new:
                weakref.finalize(self, new.stop).atexit = False
                new.thread.start()
        return follower


class _Follower:
    """Keeps a replica up to date in a thread. It does not refer to the mirror, so a mirror that is dropped stops it."""

    def __init__(self, make_watch: Callable[[], Watch], codec: Codec[Any, Any], on_change: OnChange | None) -> None:
        self.replica = Replica()
        self.revision = 0
        self.error: Exception | None = None  # the error that ended the mirror
        self.thread = threading.Thread(target=self._run, name="kvd mirror", daemon=True)
        self._make_watch = make_watch
        self._codec = codec
        self._on_change = on_change
        self._problem: Exception | None = None  # the last error after which it was retried
        self._watch: Watch | None = None
        self._settled = threading.Event()
        self._stopped = threading.Event()
        self._pid = os.getpid()

    def wait(self, timeout_s: float) -> None:
        """Wait until the replica is complete. Raises the error that prevented it."""
        is_settled = self._settled.wait(timeout_s)
        if self.error is not None:
            raise self.error
        if not is_settled:
            raise self._problem or NoReply("the entries of the mirror did not come in time")

    def stop(self) -> None:
        """Stop the thread."""
        if self._pid != os.getpid():
            return  # the watch is the parent's
        self._stopped.set()
        watch = self._watch
        if watch is not None:
            watch.stop()

    def join(self) -> None:
        """Wait until the thread has ended, unless this is the thread."""
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def _run(self) -> None:
        """Follow one watch after another, until an error that a new watch does not cure."""
        pause_s = RECONNECT_MS / 1000
        while not self._stopped.is_set():
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001  # raised to the readers
                if is_fatal(error):
                    self.error = error
                    self._settled.set()
                    return
                self._problem = error
                pause_s = RECONNECT_MS / 1000 if isinstance(error, Compacted | HistoryChanged) else pause_s * 2
                self._stopped.wait(min(pause_s, RECONNECT_MS_MAX / 1000))

    def _follow(self) -> None:
        """Follow one watch until it fails or the mirror is stopped."""
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
