"""The mirror of the asyncio client: a task keeps it up to date. As in mirror.py."""

import asyncio
import os
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from kvd.client.context import AsyncContextManaged
from kvd.client.mirror import REASON_WAIT_S, MirrorView, OnChange, is_fatal, notify
from kvd.client.replica import Replica
from kvd.client.values import Codec, K, V
from kvd.commands.model import Change
from kvd.errors import Compacted, HistoryChanged, KvdError, NoReply
from kvd.limits import RECONNECT_MS, RECONNECT_MS_MAX


class AnyAsyncWatch(Protocol):
    """The part of `AsyncWatch` that is used; aio.py imports this file."""

    @property
    def revision(self) -> int:
        """Return the revision up to which all has been delivered."""

    async def take(self) -> list[Change]:
        """Return the changes that are there."""

    async def __aenter__(self) -> Self:
        """Return itself."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


MakeWatch = Callable[[], AnyAsyncWatch]


class AsyncMirror(MirrorView[K, V], AsyncContextManaged):
    """The entries of some prefixes, kept up to date. `AsyncClient.mirror` returns one.

    `async with kv.mirror(...) as mirror` waits until it is complete; without it, await `ready` before the first read.
    """

    def __init__(
        self, make_watch: MakeWatch, codec: Codec[Any, Any], timeout: float, on_change: OnChange | None
    ) -> None:
        """`make_watch` returns a watch with a snapshot and its mark, whose values are bytes."""
        self._codec = codec
        self._timeout = timeout
        self._follower = _Follower(make_watch, codec, on_change)
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._pid = os.getpid()

    async def ready(self, timeout: float | None = None) -> int:  # noqa: ASYNC109  # as of the blocking mirror
        """Wait until all entries are there; return the revision. `timeout` in seconds (default: the client's).

        Raises what kept it from being ready.
        """
        self._check()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follower.run(), name="kvd mirror")
            weakref.finalize(self, self._task.cancel).atexit = False
        await self._follower.wait(self._timeout + REASON_WAIT_S if timeout is None else timeout)
        return self._follower.revision

    @property
    def revision(self) -> int:
        """Return the revision up to which all changes are in the mirror."""
        return self._follower.revision

    async def close(self) -> None:
        """Follow the daemon no more. Reads raise KvdError then."""
        self._is_closed = True
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    async def __aenter__(self) -> Self:
        """Wait until all entries are there."""
        try:
            await self.ready()
        except BaseException:
            await self.close()
            raise
        return self

    def __repr__(self) -> str:
        """Return how far it is."""
        return f"<AsyncMirror at revision {self.revision}>"

    def _check(self) -> None:
        """Raise KvdError when it is closed, RuntimeError in a forked child."""
        if self._is_closed:
            raise KvdError("the mirror is closed")
        if self._pid != os.getpid():
            raise RuntimeError("this mirror was made before a fork: make one in the child")

    def _replica(self) -> Replica:
        """Return what is complete. Raises KvdError."""
        self._check()
        if self._follower.error is not None:
            raise self._follower.error
        if not self._follower.replica.is_complete:
            raise KvdError("the mirror is not complete: await its ready() before the first read")
        return self._follower.replica


class _Follower:
    """Keeps a replica up to date in a task. It does not hold the mirror, so a mirror that is dropped ends it."""

    def __init__(self, make_watch: MakeWatch, codec: Codec[Any, Any], on_change: OnChange | None) -> None:
        self.replica = Replica()
        self.error: Exception | None = None  # the mirror ended by it
        self._make_watch = make_watch
        self._codec = codec
        self._on_change = on_change
        self._problem: Exception | None = None  # it goes on in spite of it
        self._settled = asyncio.Event()
        self._watch: AnyAsyncWatch | None = None
        self._revision = 0

    @property
    def revision(self) -> int:
        """Return the revision up to which all changes are in the replica."""
        if self._watch is not None and not self.replica.is_gathering:
            self._revision = self._watch.revision
        return self._revision

    async def wait(self, timeout_s: float) -> None:
        """Wait until the replica is complete. Raises what kept it from that."""
        try:
            await asyncio.wait_for(self._settled.wait(), timeout_s)
        except TimeoutError:
            raise self._problem or NoReply("the entries of the mirror did not come in time") from None
        if self.error is not None:
            raise self.error

    async def run(self) -> None:
        """Follow, and begin again, until an error that does not pass."""
        pause_s = RECONNECT_MS / 1000
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001  # raised to whoever reads
                if is_fatal(error):
                    self.error = error
                    self._settled.set()
                    return
                self._problem = error
                pause_s = RECONNECT_MS / 1000 if isinstance(error, Compacted | HistoryChanged) else pause_s * 2
                await asyncio.sleep(min(pause_s, RECONNECT_MS_MAX / 1000))

    async def _follow(self) -> None:
        """Follow one watch to its end."""
        async with self._make_watch() as watch:
            self.replica.begin()
            self._watch = watch
            while True:
                changes = await watch.take()
                differences = [each for change in changes for each in self.replica.apply(change)]
                if self.replica.is_complete:
                    self._settled.set()
                notify(self._on_change, self._codec, differences)
