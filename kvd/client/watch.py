"""Watching: the changes of some prefixes, each once, in order, without gaps, across restarts of the daemon.

`Watch` is what `Client.watch` returns: it waits, and returns what the steps of its `Subscription` bring. A socket pair
wakes a blocked `take` when another thread stops the watch.
"""

import contextlib
import os
import socket
import threading
import time
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


class Watch(ContextManaged):
    """An iterator over changes. It ends when it is stopped or closed, or with an error that no retry cures.

    Raises Compacted when changes it needs are no longer kept, HistoryChanged when the daemon serves another store,
    Unreachable when no daemon answered at the start, Denied when the client may not read a prefix. One thread iterates;
    any thread or signal handler may call `stop`.
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
        self._subscription = Subscription(
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
        self._buffer: deque[Change] = deque()
        self._wake_pair: tuple[socket.socket, socket.socket] | None = None
        self._is_stopped = self._is_closed = False
        self._is_busy = False  # within a call; if set at the next one, an interrupt ended the last
        self._returned: int | None = None  # up to where changes had been returned before that call
        self._taking_thread: int | None = None
        self._pid = os.getpid()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        """Wait for the next change and return it. The iteration ends when the watch is stopped."""
        self._begin()
        while not self._buffer:
            self._fill(None)
            if not self._buffer and self._is_stopped:
                self._is_busy = False
                raise StopIteration
        change = self._buffer.popleft()
        self._is_busy = False
        return change

    def take(self, wait_s: float | None = None) -> list[Change]:
        """Return the changes that have arrived; wait for the first, at most `wait_s` seconds (None: without limit).

        Returns none once the watch is stopped.
        """
        limit = None if wait_s is None else time.monotonic() + wait_s
        self._begin()
        if not self._is_stopped:
            self._fill(limit)
        changes = [*self._buffer]
        self._buffer.clear()
        self._is_busy = False
        return changes

    def ready(self) -> int:
        """Wait until no change can be missed any more; return the revision after which changes are delivered."""
        self._begin()
        while not self._subscription.is_ready and not self._is_stopped:
            self._buffer.extend(self._subscription.step())
            if not self._subscription.is_ready:
                self._wait(None)
        self._is_busy = False
        return self.revision

    @property
    def revision(self) -> int:
        """The revision up to which all changes have been delivered."""
        return self.position.revision

    @property
    def position(self) -> Position:
        """Where the watch is: `watch(since=position)` resumes there, or raises when it cannot."""
        return self._subscription.position(self._buffer)

    def stop(self) -> None:
        """End the iteration. Any thread may call it, and a signal handler."""
        self._is_stopped = True
        if self._wake_pair is not None and self._pid == os.getpid():  # a forked child would wake its parent
            with contextlib.suppress(OSError):
                self._wake_pair[1].send(b"\0", NO_SIGNAL)

    def close(self) -> None:
        """Stop watching and close the connections, at once or when the call of another thread returns."""
        self._is_closed = True
        self.stop()
        if self._taking_thread in (None, threading.get_ident()):
            self._release()

    def __del__(self) -> None:
        """Close the socket pair; the subscription closes its connections, and warns."""
        for sock in getattr(self, "_wake_pair", None) or ():
            sock.close()

    def _begin(self) -> None:
        """Start a call that returns changes. A call that an interrupt ended has taken changes and returned none."""
        if self._is_busy:
            self._rewind()
        else:
            self._returned = self._subscription.revision_before(self._buffer)
            self._is_busy = True

    def _rewind(self) -> None:
        """Follow again from the last change that was returned; a snapshot starts again."""
        self._buffer.clear()
        self._subscription.restart(self._returned)
        if not self._is_stopped:
            self._subscription.start()

    def _fill(self, limit: float | None) -> None:
        """Add changes to the buffer; wait for the first, at most until `limit`."""
        self._taking_thread = threading.get_ident()
        try:
            while not self._is_stopped:
                self._buffer.extend(self._subscription.step())
                if self._buffer or (limit is not None and time.monotonic() >= limit):
                    return
                self._wait(limit)
        except Exception:
            if not self._is_closed:  # otherwise it has been closed, for instance by a signal handler
                raise
        finally:
            self._taking_thread = None
            if self._is_closed:
                self._release()

    def _wait(self, limit: float | None) -> None:
        """Wait until a step is due, the watch is stopped, or `limit` is reached."""
        if self._wake_pair is None:
            self._wake_pair = socket.socketpair()
            for sock in self._wake_pair:
                sock.settimeout(0)
        if self._is_stopped:
            return  # it was stopped before the socket pair was made
        due = self._subscription.due()
        until = due if limit is None else min(due, limit)
        interests = [Interest(each.fileno(), each.wants_write) for each in self._subscription.channels()]
        wait_until_ready([Interest(self._wake_pair[0].fileno()), *interests], max(0.0, until - time.monotonic()))

    def _release(self) -> None:
        """Close all descriptors."""
        self._is_closed = True
        self._subscription.close()
        pair, self._wake_pair = self._wake_pair, None
        for sock in pair or ():
            sock.close()
