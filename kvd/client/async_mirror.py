"""The mirror of the asyncio client: a task keeps it up to date. mirror.py explains mirrors."""

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import Any, Self

from kvd.client.async_watch import AsyncWatch
from kvd.client.context import AsyncContextManaged
from kvd.client.mirror import REASON_WAIT_S, MirrorView, OnChange, is_fatal, notify
from kvd.client.replica import Replica
from kvd.client.values import Codec, K, V
from kvd.errors import Compacted, HistoryChanged, KvdError, NoReply
from kvd.limits import RECONNECT_MS, RECONNECT_MS_MAX

MakeWatch = Callable[[], AsyncWatch]


class AsyncMirror(MirrorView[K, V], AsyncContextManaged):
    """The entries of some prefixes, kept up to date. `AsyncClient.mirror` returns one.

    `async with kv.mirror(...) as mirror` waits until it is complete. Otherwise await `ready` before the first read.
    """

    def __init__(
        self, make_watch: MakeWatch, codec: Codec[Any, Any], timeout: float, on_change: OnChange | None
    ) -> None:
        """`make_watch` returns a watch with a snapshot and its mark; its values are bytes."""
        self._codec = codec
        self._timeout = timeout
        self._follower = _Follower(make_watch, codec, on_change)
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._pid = os.getpid()

    async def ready(self, timeout: float | None = None) -> int:  # noqa: ASYNC109  # as of the blocking mirror
        """Wait until the mirror has all entries; return its revision. `timeout` in seconds (default: the client's).

        Raises the error that prevented it.
        """
        self._check()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follower.run(), name="kvd mirror")
            weakref.finalize(self, self._task.cancel).atexit = False
        await self._follower.wait(self._timeout + REASON_WAIT_S if timeout is None else timeout)
        return self._follower.revision

    @property
    def revision(self) -> int:
        """The revision up to which the mirror has all changes."""
        return self._follower.revision

    async def close(self) -> None:
        """Stop following the daemon. Reads then raise KvdError."""
        self._is_closed = True
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    async def __aenter__(self) -> Self:
        """Wait until the mirror is complete."""
        try:
            await self.ready()
        except BaseException:
            await self.close()
            raise
        return self

    def __repr__(self) -> str:
        return f"<AsyncMirror at revision {self.revision}>"

    def _check(self) -> None:
        """Raise KvdError when it is closed, RuntimeError in a forked child."""
        if self._is_closed:
            raise KvdError("the mirror is closed")
        if self._pid != os.getpid():
            raise RuntimeError("this mirror was made before a fork: make one in the child")

    def _replica(self) -> Replica:
        """Return the complete replica. Raises KvdError."""
        self._check()
        if self._follower.error is not None:
            raise self._follower.error
        if not self._follower.replica.is_complete:
            raise KvdError("the mirror is not complete: await its ready() before the first read")
        return self._follower.replica


class _Follower:
    """Keeps a replica up to date in a task. It does not refer to the mirror, so a mirror that is dropped stops it."""

    def __init__(self, make_watch: MakeWatch, codec: Codec[Any, Any], on_change: OnChange | None) -> None:
        self.replica = Replica()
        self.error: Exception | None = None  # the error that ended the mirror
        self._make_watch = make_watch
        self._codec = codec
        self._on_change = on_change
        self._problem: Exception | None = None  # the last error after which it was retried
        self._settled = asyncio.Event()
        self._watch: AsyncWatch | None = None
        self._revision = 0

    @property
    def revision(self) -> int:
        """The revision up to which the replica has all changes."""
        if self._watch is not None and not self.replica.is_gathering:
            self._revision = self._watch.revision
        return self._revision

    async def wait(self, timeout_s: float) -> None:
        """Wait until the replica is complete. Raises the error that prevented it."""
        try:
            await asyncio.wait_for(self._settled.wait(), timeout_s)
        except TimeoutError:
            raise self._problem or NoReply("the entries of the mirror did not come in time") from None
        if self.error is not None:
            raise self.error

    async def run(self) -> None:
        """Follow one watch after another, until an error that a new watch does not cure."""
        pause_s = RECONNECT_MS / 1000
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001  # raised to the readers
                if is_fatal(error):
                    self.error = error
                    self._settled.set()
                    return
                self._problem = error
                pause_s = RECONNECT_MS / 1000 if isinstance(error, Compacted | HistoryChanged) else pause_s * 2
                await asyncio.sleep(min(pause_s, RECONNECT_MS_MAX / 1000))

    async def _follow(self) -> None:
        """Follow one watch until it fails."""
        async with self._make_watch() as watch:
            self.replica.begin()
            self._watch = watch
            while True:
                changes = await watch.take()
                differences = [each for change in changes for each in self.replica.apply(change)]
                if self.replica.is_complete:
                    self._settled.set()
                notify(self._on_change, self._codec, differences)
