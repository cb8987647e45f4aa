"""Drives connections from an asyncio event loop: readiness, timers, and name lookups in a thread."""

import asyncio
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

from kvd.client.channel import Channel
from kvd.client.endpoints import Address, Endpoint

TIMER_MARGIN_S = 0.001
LONG_WORK_S = 0.005


class Driven(Protocol):
    """The owner of connections that a driver pumps."""

    def pump(self) -> None:
        """Process what has arrived."""

    def channels(self) -> list[Channel]:
        """Return the connections to listen to."""

    def due(self) -> float | None:
        """Return when to pump even if no connection is ready, on the monotonic clock."""


class _Queue:
    """The drivers of one event loop. After one has worked for long, the others wait as long, and then work one by one.

    Reading a change of 16 MiB takes 15 ms, and all watches of a loop get it at the same time. Without the pauses, a
    request to a server in the same loop, which takes several turns, would wait for all of them.
    """

    def __init__(self) -> None:
        self._waiting: deque[SocketDriver] = deque()
        self._worker: SocketDriver | None = None  # the driver that has worked for long; the others wait

    def must_wait(self, driver: "SocketDriver") -> bool:
        """Return whether a driver may not work now. If so, its `work` is called later."""
        if not self._waiting and self._worker in (None, driver):
            return False
        if driver not in self._waiting:
            self._waiting.append(driver)
        return True

    def pause_after(self, driver: "SocketDriver", work_s: float) -> None:
        """Make the other drivers wait as long as this one has worked."""
        if self._worker is None:
            driver.loop.call_later(work_s, self._resume)
        self._worker = driver

    def leave(self, driver: "SocketDriver") -> None:
        """Forget a waiting driver."""
        if driver in self._waiting:
            self._waiting.remove(driver)

    def _resume(self) -> None:
        """Let waiting drivers work, until one of them has worked for long."""
        self._worker = None
        while self._waiting and self._worker is None:
            self._waiting.popleft().work()


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()


class SocketDriver:
    """Pumps its owner when one of its connections is ready, and when the owner is due.

    The event loop refers to the driver, and the driver weakly to its owner: an owner that is dropped is collected.
    """

    def __init__(self, owner: Driven) -> None:
        self.loop = asyncio.get_running_loop()
        self._owner = weakref.ref(owner)
        self._listened: dict[Channel, tuple[int, bool]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._pid = os.getpid()
        self._queue = _queues.setdefault(self.loop, _Queue())

    def wake(self) -> None:
        """Pump in the next turn of the loop."""
        if self._soon is None:
            self._soon = self.loop.call_soon(self.turn)

    def turn(self) -> None:
        """Pump once; or later, if another driver has just worked for long."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        owner = self._owner()
        if owner is None:
            return
        if self._queue.must_wait(self):
            self._listen([])
        else:
            self.work(owner)

    def work(self, owner: Driven | None = None) -> None:
        """Pump now."""
        owner = owner or self._owner()
        if owner is None:
            return
        started_at = time.monotonic()
        owner.pump()
        self._listen(owner.channels())
        self._set_timer(owner.due())
        work_s = time.monotonic() - started_at
        if work_s >= LONG_WORK_S:
            self._queue.pause_after(self, work_s)

    def stop(self) -> None:
        """Stop listening. A forked child leaves the event loop alone: it shares the selector with its parent."""
        self._queue.leave(self)
        if self._pid != os.getpid():
            self._listened.clear()
        if self.loop.is_closed():
            return
        self._listen([])
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()

    def _listen(self, channels: Sequence[Channel]) -> None:
        """Listen to exactly these connections."""
        for channel in [old for old in self._listened if old not in channels]:
            self._forget(channel)
        for channel in channels:
            fd, is_writer = self._listened.get(channel) or self._add(channel)
            if channel.wants_write != is_writer:
                if is_writer:
                    self.loop.remove_writer(fd)
                else:
                    self.loop.add_writer(fd, self.turn)
                self._listened[channel] = fd, not is_writer

    def _add(self, channel: Channel) -> tuple[int, bool]:
        """Listen to a connection until it closes its descriptor."""
        fd = channel.fileno()
        self.loop.add_reader(fd, self.turn)
        channel.call_before_close(partial(self._forget, channel))
        self._listened[channel] = fd, False
        return self._listened[channel]

    def _forget(self, channel: Channel) -> None:
        """Stop listening to a connection."""
        fd, is_writer = self._listened.pop(channel, (-1, False))
        if fd < 0 or self.loop.is_closed() or self._pid != os.getpid():
            return
        self.loop.remove_reader(fd)
        if is_writer:
            self.loop.remove_writer(fd)

    def _set_timer(self, due: float | None) -> None:
        """Schedule `turn`. A timer that fires too early is cheaper than a new one."""
        if due is None:
            return
        at = self.loop.time() + max(0.0, due - time.monotonic()) + TIMER_MARGIN_S
        if self._timer is not None and not self._timer.cancelled() and self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        """Pump. The timer is forgotten first: uvloop's clock may still be behind its time."""
        self._timer = None
        self.turn()


class Resolver:
    """Looks up names in a thread, so that a slow name server does not block the event loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lookups: dict[Endpoint, asyncio.Future[list[Address]]] = {}

    def __call__(self, endpoint: Endpoint) -> Sequence[Address] | None:
        """Return the addresses, or None while the lookup runs. Raises OSError."""
        if endpoint.is_numeric:
            return endpoint.addresses()
        future = self._lookups.get(endpoint)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(None, endpoint.addresses)
            future.add_done_callback(self._on_resolved)
            self._lookups[endpoint] = future
        if not future.done():
            return None
        del self._lookups[endpoint]
        return future.result()

    def _on_resolved(self, future: asyncio.Future[list[Address]]) -> None:
        """Wake the owner. Read the exception, or asyncio reports a failure that is no longer needed."""
        if not future.cancelled():
            future.exception()
        self._wake()
