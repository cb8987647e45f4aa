"""The lock of the blocking client. A background thread renews it at a third of its time to live.

The lock renews and releases over connections of its own, with deadlines of its own: a client's timeout may be longer
than the lock lives. The decisions are in lease.py.
"""

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from kvd.client.lease import Claim, Lease
from kvd.client.pool import Pool
from kvd.client.values import Seconds, Text, check_seconds, key_bytes, milliseconds
from kvd.commands import Command
from kvd.commands.base import Ok
from kvd.errors import ClientError, KvdError, LockLost, LockNotAcquired

Answer = Callable[[Command], Ok]
OnLost = Callable[[LockLost], object]
RENEWALS_PER_TTL = 3
RETRIES_PER_TTL = 10
REPLY_WAIT_PART = 3  # one renewal or release may take a third of the time to live


def now_s() -> float:
    """Return the time of a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def new_value() -> bytes:
    """Return a name for one holding: host and process for whoever looks, and chance."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(8).hex()}".encode()


def new_token() -> bytes:
    """Return a token for ONCE."""
    return os.urandom(16)


def _wait_limit(timeout: Seconds | None) -> float | None:
    """Return how long to wait in seconds; None: as long as it takes. Raises ValueError."""
    return timeout if timeout is None or timeout == 0 else check_seconds("timeout", timeout)  # type: ignore[return-value]


class LockState:
    """What `Lock` and `AsyncLock` have in common: the arguments, and what is held."""

    def __init__(self, name: Text, ttl: Seconds, timeout: Seconds | None, on_lost: OnLost | None) -> None:
        self._key = key_bytes(name)
        self._ttl_ms = milliseconds("ttl", ttl) or 1
        self._timeout = _wait_limit(timeout)
        self._on_lost = on_lost or (lambda _: None)
        self._lease: Lease | None = None
        self._pid = os.getpid()

    @property
    def is_held(self) -> bool:
        """Return whether the lock is ours now. Nothing is sent."""
        lease = self._lease
        return lease is not None and self._pid == os.getpid() and lease.problem(now_s()) is None

    @property
    def fencing(self) -> int:
        """Return the revision of the write that acquired the lock. A later holder's is greater.

        Give it along with each write to what the lock protects, and let that refuse a smaller one than it has seen:
        no lock can stop a process that stood still and wakes up. Raises LockLost when the lock was not acquired.
        """
        return self._expect_owner().fencing

    def check(self) -> None:
        """Raise LockLost unless the lock is ours now. Nothing is sent."""
        problem = self._expect_owner().problem(now_s())
        if problem is not None:
            raise problem

    def __repr__(self) -> str:
        """Return the name, and whether it is held."""
        name = self._key.decode(errors="backslashreplace")
        return f"<{type(self).__name__} {name!r} {'held' if self.is_held else 'not held'}>"

    def _expect_owner(self) -> Lease:
        """Return the lease. Raises LockLost."""
        name = self._key.decode(errors="backslashreplace")
        if self._lease is None:
            raise LockLost(f"the lock {name!r} is not acquired")
        if self._pid != os.getpid():
            raise LockLost(f"the lock {name!r} belongs to the process that forked this one")
        return self._lease

    def _not_acquired(self) -> LockNotAcquired:
        """Return the error of having waited in vain."""
        name = self._key.decode(errors="backslashreplace")
        return LockNotAcquired(f"the lock {name!r} is held by somebody else")


class Lock(LockState):
    """A lock that one client at a time holds, of all that ask for its name. `Client.lock` returns one.

    It is not reentrant: the holder who acquires it again waits for itself. Threads that share one wait for
    each other. A forked child does not hold it, whatever its parent does.
    """

    def __init__(  # the options of a lock are its arguments
        self,
        answer: Answer,
        make_pool: Callable[[float], Pool],
        name: Text,
        ttl: Seconds,
        *,
        timeout: Seconds | None,
        on_lost: OnLost | None,
    ) -> None:
        """`answer` runs a command; `make_pool` returns connections for a timeout in seconds."""
        super().__init__(name, ttl, timeout, on_lost)
        self._answer = answer
        self._make_pool = make_pool
        self._finalizer: Callable[[], object] = lambda: None

    def acquire(self) -> None:
        """Wait for the lock. Raises LockNotAcquired when it takes longer than `timeout`, and what a command raises."""
        claim = Claim(self._key, new_value(), self._ttl_ms)
        try:
            self._pursue(claim)
            self._begin(Lease(claim))
        except (KvdError, OSError):
            raise
        except BaseException:
            self._abandon(claim)
            raise

    def release(self) -> bool:
        """Give the lock back. Raises LockLost when it was not ours any more.

        Returns False when no daemon answers: the lock then ends by itself, when its time to live is over.
        """
        finalizer = self._finalizer  # once the entry is cleared, it may be that of another thread
        try:
            return self._give_back(self._expect_owner())
        finally:
            finalizer()  # after an interrupt too: its traceback may keep this object alive for long

    def _give_back(self, lease: Lease) -> bool:
        """Stop the renewals, and clear the entry if the lock is ours. As `release`."""
        self._finalizer()
        self._lease = None
        problem = lease.problem(now_s())
        lease.is_released = True
        if problem is not None:
            raise problem
        with contextlib.closing(self._make_pool(lease.ttl_s / REPLY_WAIT_PART)) as pool:
            is_cleared = clear(lease, pool.answer)
        if lease.lost is not None:
            raise lease.lost
        return is_cleared

    def __enter__(self) -> Self:
        """Acquire it."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it. Raises LockLost when it was lost, unless another error leaves the block."""
        finalizer = self._finalizer
        try:
            if self._pid == os.getpid():  # else it is the parent's
                with contextlib.suppress(*([] if kind is None else [KvdError])):
                    self.release()
        finally:
            finalizer()

    def _pursue(self, claim: Claim) -> None:
        """Send what the claim says until the lock is ours. Raises LockNotAcquired, KvdError."""
        until = None if self._timeout is None else time.monotonic() + self._timeout
        while not claim.fencing:
            rest_s = None if until is None else until - time.monotonic()
            if rest_s is not None and rest_s <= 0 and claim.is_waiting:
                raise self._not_acquired()
            try:
                answer = self._answer(claim.command(new_token(), now_s(), rest_s))
            except KvdError as error:
                pause_s = claim.on_error(error)
                if pause_s and rest_s is not None and rest_s <= 0:
                    raise
                time.sleep(pause_s)
            else:
                claim.on_answer(answer, now_s())

    def _begin(self, lease: Lease) -> None:
        """Hold the lock, and renew it from now on."""
        bell: SimpleQueue[None] = SimpleQueue()
        pool = self._make_pool(lease.ttl_s / REPLY_WAIT_PART)
        renew = threading.Thread(target=keep, args=(lease, pool, bell, self._on_lost), name="kvd lock", daemon=True)
        # The thread does not hold the lock, only what it renews: a lock that is dropped is not renewed for ever.
        self._finalizer = weakref.finalize(self, bell.put, None)
        self._pid = os.getpid()
        self._lease = lease
        renew.start()

    def _abandon(self, claim: Claim) -> None:
        """Give back what an interrupt may have left; without a daemon it ends by itself."""
        if self._lease is not None and self._lease.value == claim.value:  # else it is that of another thread
            self._finalizer()
            self._lease = None
        if not claim.is_waiting:
            lease = Lease(claim)
            lease.on_error(KvdError("look first"))
            with contextlib.closing(self._make_pool(lease.ttl_s / REPLY_WAIT_PART)) as pool:
                clear(lease, pool.answer)


def clear(lease: Lease, answer: Answer) -> bool:
    """Clear the entry if it is ours; return whether the daemon said so. Raises Refused."""
    while True:
        try:
            found = answer(lease.release(new_token()))
        except ClientError:
            return False
        except KvdError as error:
            if not lease.on_error(error):
                raise
            continue
        if lease.on_answer(found, now_s()):
            return lease.lost is None


def keep(lease: Lease, pool: Pool, bell: "SimpleQueue[None]", on_lost: OnLost) -> None:
    """Renew a lease until the bell rings or it is lost."""
    pause_s = lease.ttl_s / RENEWALS_PER_TTL
    with contextlib.closing(pool):
        while not _has_rung(bell, min(pause_s, max(0.0, lease.until - now_s()))):
            if lease.problem(now_s()) is None:
                pause_s = _renew(lease, pool.answer)
            if lease.lost is not None and not lease.is_released:
                on_lost(lease.lost)
                return


def _renew(lease: Lease, answer: Answer) -> float:
    """Renew a lease; return how long to pause until the next time."""
    sent_at = now_s()
    try:
        is_done = lease.on_answer(answer(lease.renewal(new_token())), sent_at)
    except KvdError as error:
        return 0.0 if lease.on_error(error) else lease.ttl_s / RETRIES_PER_TTL
    return lease.ttl_s / RENEWALS_PER_TTL if is_done else 0.0


def _has_rung(bell: "SimpleQueue[None]", wait_s: float) -> bool:
    """Wait so long, and return whether the bell rang."""
    try:
        bell.get(timeout=wait_s)
    except Empty:
        return False
    return True
