"""Watching: the changes of some prefixes, each once, in order, none skipped, across restarts of the daemon.

`Watch` is what `Client.watch` returns: it waits, and returns what its `step` brings. The connections and what is made
of what they bring are in subscription.py, which follower.py decides for. A socket pair is a bell that wakes a blocked
`take` when another thread stops the watch.
"""

import contextlib
import os
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from kvd.client.connection import NO_SIGNAL
from kvd.client.context import ContextManaged
from kvd.client.endpoints import Endpoint
from kvd.client.keys import Keys
from kvd.client.readiness import Interest, wait_until_ready
from kvd.client.selection import Position, Selection
from kvd.client.stream import Resolve
from kvd.client.subscription import OnState, Subscription
from kvd.commands.model import Change


class Watch(Subscription, ContextManaged):
    """An iterator over changes that ends when it is stopped or closed, or with an error it cannot mend.

    Raises Compacted when changes it needs are no longer kept, HistoryChanged when the daemon serves another store,
    Unreachable when no daemon was there at the start, Denied when we may not read a prefix. One thread iterates; any
    thread or signal handler may call `stop`.
    """

    def __init__(  # noqa: PLR0913  # the options of a watch are its arguments
        self,
        endpoint: str | Sequence[str] | None,
        selection: Selection,
        *,
        since: int | Position | None = None,
        history: str | None = None,
        snapshot: bool = False,
        timeout: float,
        keys: Keys | None = None,
        on_state: OnState | None = None,
        on_history: Callable[[str], None] | None = None,
        resolve: Resolve = Endpoint.addresses,
    ) -> None:
        """`since` None: from now on. `on_state` is called with "disconnected" and "reconnected"."""
        super().__init__(
            endpoint,
            selection,
            since=since,
            history=history,
            snapshot=snapshot,
            timeout=timeout,
            keys=keys,
            on_state=on_state,
            on_history=on_history,
            resolve=resolve,
        )
        self.buffer: deque[Change] = deque()
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._is_stopped = self._is_closed = False
        self._is_busy = False  # within a call: still true at the next, an interrupt came in between
        self._returned: int | None = None  # up to where changes had been returned before that call
        self._taking_thread: int | None = None

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Change:
        """Return the next change, however long it takes; the iteration ends when the watch is stopped."""
        self._begin()
        while not self.buffer:
            self._fill(None)
            if not self.buffer and self._is_stopped:
                self._is_busy = False
                raise StopIteration
        change = self.buffer.popleft()
        self._is_busy = False
        return change

    def take(self, wait_s: float | None = None) -> list[Change]:
        """Return the changes that are there; wait for the first so many seconds (None: as long as it takes).

        Returns none once the watch is stopped.
        """
        limit = None if wait_s is None else time.monotonic() + wait_s
        self._begin()
        if not self._is_stopped:
            self._fill(limit)
        changes = [*self.buffer]
        self.buffer.clear()
        self._is_busy = False
        return changes

    def ready(self) -> int:
        """Wait until nothing can be missed any more; return the revision from which on changes come."""
        self._begin()
        while not self.is_ready and not self._is_stopped:
            self.buffer.extend(self.step())
            if not self.is_ready:
                self.wait(None)
        self._is_busy = False
        return self.revision

    @property
    def revision(self) -> int:
        """Return the revision up to which all has been delivered."""
        return self.revision_before(self.buffer)

    @property
    def position(self) -> Position:
        """Return up to where all has been delivered: `watch(since=position)` goes on there, or says that it cannot."""
        return Position(self.revision, self.history or self._expected)

    def revision_before(self, waiting: Sequence[Change]) -> int:
        """Return the revision up to which all has been delivered, but for what waits to be handed out one by one."""
        return self._on_reached(waiting) or 0

    def _on_reached(self, waiting: Sequence[Change]) -> int | None:
        """Return the same, or None where the watch is to follow from now on and has not begun."""
        if waiting and waiting[0].time:  # else it is an entry of the snapshot, within which one cannot go on
            return waiting[0].revision - 1
        return self.reached

    def stop(self) -> None:
        """End the iteration. Any thread may call it, and a signal handler."""
        self._is_stopped = True
        if self._bell is not None and self._pid == os.getpid():  # a forked child would ring its parent's bell
            with contextlib.suppress(OSError):
                self._bell[1].send(b"\0", NO_SIGNAL)

    def close(self) -> None:
        """Stop watching and close the connections. From another thread it does so when that thread returns."""
        self._is_closed = True
        self.stop()
        if self._taking_thread in (None, threading.get_ident()):
            self._release()

    def __del__(self) -> None:
        """Warn when nobody closed it, as sockets do."""
        if not getattr(self, "_is_closed", True) and self._pid == os.getpid():
            warnings.warn("unclosed kvd watch", ResourceWarning, source=self, stacklevel=2)
            self._release()

    def _begin(self) -> None:
        """Begin a call that hands out changes. One that an interrupt ended took changes in and returned none."""
        if self._is_busy:
            self._rewind()
        else:
            self._returned = self._on_reached(self.buffer)
            self._is_busy = True

    def _rewind(self) -> None:
        """Follow again from what was returned last; the entries of a snapshot come again, all of them."""
        self.buffer.clear()
        self.reset(self._returned)
        if not self._is_stopped:
            self.ask_info()

    def _fill(self, limit: float | None) -> None:
        """Put what comes into the buffer; wait for the first, at most until a time."""
        self._taking_thread = threading.get_ident()
        try:
            while not self._is_stopped:
                self.buffer.extend(self.step())
                if self.buffer or (limit is not None and time.monotonic() >= limit):
                    return
                self.wait(limit)
        except Exception:
            if not self._is_closed:  # else it was closed meanwhile, by a signal handler for instance
                raise
        finally:
            self._taking_thread = None
            if self._is_closed:
                self._release()

    def wait(self, limit: float | None) -> None:
        """Block until a step is worth it, or the watch is stopped."""
        if self._bell is None:
            self._bell = socket.socketpair()
            for sock in self._bell:
                sock.settimeout(0)
        if self._is_stopped:
            return  # it was stopped before there was a bell
        until = min(self.due(), limit) if limit is not None else self.due()
        interests = [Interest(each.fileno(), each.wants_write) for each in self.channels()]
        wait_until_ready([Interest(self._bell[0].fileno()), *interests], max(0.0, until - time.monotonic()))

    def _release(self) -> None:
        """Close all descriptors."""
        self._is_closed = True
        self.release()
        bell, self._bell = self._bell, None
        for sock in bell or ():
            sock.close()
