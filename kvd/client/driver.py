"""Drives connections within an event loop of asyncio: readiness, timers, and names that are looked up in a thread."""

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
    """What a driver drives."""

    def pump(self) -> None:
        """Process whatever has arrived."""

    def channels(self) -> list[Channel]:
        """Return the connections to listen to."""

    def due(self) -> float | None:
        """Return when to pump even if no connection is ready, on the monotonic clock."""


class _Queue:
    """The drivers of a loop, when one has worked for long: the others then wait for as long, and work one by one.

    To take in a change of 16 MiB takes 15 ms, and all watches of a loop get it at the same time. Without the pauses a
    request to a server in the same loop, which needs several turns of the loop, would wait for all of them.
    """

    def __init__(self) -> None:
        self._waiting: deque[SocketDriver] = deque()
        self._worker: SocketDriver | None = None  # since it has worked for long all others wait

    def must_wait(self, driver: "SocketDriver") -> bool:
        """Return whether a driver may not work now; it is called when it may."""
        if not self._waiting and self._worker in (None, driver):
            return False
        if driver not in self._waiting:
            self._waiting.append(driver)
        return True

    def pause_after(self, driver: "SocketDriver", work_s: float) -> None:
        """Let the others wait for as long as a driver has worked."""
        if self._worker is None:
            driver.loop.call_later(work_s, self._go_on)
        self._worker = driver

    def leave(self, driver: "SocketDriver") -> None:
        """Forget a driver that waits."""
        if driver in self._waiting:
            self._waiting.remove(driver)

    def _go_on(self) -> None:
        """Let those work that wait, until one has worked for long."""
        self._worker = None
        while self._waiting and self._worker is None:
            self._waiting.popleft().work()


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()


class SocketDriver:
    """Pumps its owner whenever a connection of it is ready, and when it is due.

    The event loop holds the driver, and the driver holds its owner weakly: an owner that is dropped is collected.
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
        """Pump once; later, if another driver has just worked for long."""
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
        begun = time.monotonic()
        owner.pump()
        self._listen(owner.channels())
        self._set_timer(owner.due())
        work_s = time.monotonic() - begun
        if work_s >= LONG_WORK_S:
            self._queue.pause_after(self, work_s)

    def stop(self) -> None:
        """Listen no more. A forked child leaves the loop alone, whose selector it shares with its parent."""
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
        """Listen to these connections and no others."""
        for channel in [old for old in self._listened if old not in channels]:
            self._forget(channel)
        for channel in channels:
            fd, is_writer = self._listened.get(channel) or self._begin(channel)
            if channel.wants_write != is_writer:
                if is_writer:
                    self.loop.remove_writer(fd)
                else:
                    self.loop.add_writer(fd, self.turn)
                self._listened[channel] = fd, not is_writer

    def _begin(self, channel: Channel) -> tuple[int, bool]:
        """Listen to a connection until it closes its descriptor."""
        fd = channel.fileno()
        self.loop.add_reader(fd, self.turn)
        channel.before_close = partial(self._forget, channel)
        self._listened[channel] = fd, False
        return self._listened[channel]

    def _forget(self, channel: Channel) -> None:
        """Listen no more to a connection."""
        fd, is_writer = self._listened.pop(channel, (-1, False))
        if fd < 0 or self.loop.is_closed() or self._pid != os.getpid():
            return
        self.loop.remove_reader(fd)
        if is_writer:
            self.loop.remove_writer(fd)

    def _set_timer(self, due: float | None) -> None:
        """See to it that `turn` is called when it is due; a timer that fires too early is cheaper than a new one."""
        if due is None:
            return
        at = self.loop.time() + max(0.0, due - time.monotonic()) + TIMER_MARGIN_S
        if self._timer is not None and not self._timer.cancelled() and self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        """Pump. A timer that has fired is forgotten first: the clock of uvloop may still be behind its time."""
        self._timer = None
        self.turn()


class Resolver:
    """Looks up names in a thread, so that a slow name server does not hold up the loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._found: dict[Endpoint, asyncio.Future[list[Address]]] = {}

    def __call__(self, endpoint: Endpoint) -> Sequence[Address] | None:
        """Return the addresses, or None while they are looked up. Raises OSError."""
        if endpoint.is_numeric:
            return endpoint.addresses()
        future = self._found.get(endpoint)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(None, endpoint.addresses)
            future.add_done_callback(self._on_found)
            self._found[endpoint] = future
        if not future.done():
            return None
        del self._found[endpoint]
        return future.result()

    def _on_found(self, future: asyncio.Future[list[Address]]) -> None:
        """See to it that the result is asked for; a failure that nobody asks for any more is none."""
        if not future.cancelled():
            future.exception()
        self._wake()
