"""The lock of the blocking client. A background thread renews it at a third of its time to live.

The lock renews and releases over its own connections, with its own deadlines: the client's timeout may be longer than
the lock's time to live. lease.py makes the decisions.
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
    """Return the time of a clock that also runs while the machine is suspended, if there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def new_value() -> bytes:
    """Return a unique value for one holding: host and process for people, and random digits."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(8).hex()}".encode()


def new_token() -> bytes:
    """Return a token for ONCE."""
    return os.urandom(16)


def _wait_limit(timeout: Seconds | None) -> float | None:
    """Return how long to wait in seconds; None: without limit. Raises ValueError."""
    return timeout if timeout is None or timeout == 0 else check_seconds("timeout", timeout)  # type: ignore[return-value]


class LockState:
    """The common part of `Lock` and `AsyncLock`: the arguments and the lease."""

    def __init__(self, name: Text, ttl: Seconds, timeout: Seconds | None, on_lost: OnLost | None) -> None:
        self._key = key_bytes(name)
        self._ttl_ms = milliseconds("ttl", ttl) or 1
        self._timeout = _wait_limit(timeout)
        self._on_lost = on_lost or (lambda _: None)
        self._lease: Lease | None = None
        self._pid = os.getpid()

    @property
    def is_held(self) -> bool:
        """Whether the lock is held now. Nothing is sent."""
        lease = self._lease
        return lease is not None and self._pid == os.getpid() and lease.problem(now_s()) is None

    @property
    def fencing(self) -> int:
        """The revision of the write that acquired the lock. A later holder's is greater.

        Pass it along with each write to the protected resource, and let the resource refuse a number smaller than the
        largest it has seen: no lock can stop a process that stood still and wakes up. Raises LockLost if not acquired.
        """
        return self._expect_owner().fencing

    def check(self) -> None:
        """Raise LockLost unless the lock is held now. Nothing is sent."""
        problem = self._expect_owner().problem(now_s())
        if problem is not None:
            raise problem

    def __repr__(self) -> str:
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
        """Return the error of a wait that took too long."""
        name = self._key.decode(errors="backslashreplace")
        return LockNotAcquired(f"the lock {name!r} is held by somebody else")


class Lock(LockState):
    """A lock that one client holds at a time. `Client.lock` returns one.

    It is not reentrant: a holder that acquires it again waits for itself. Threads that share one wait for each other.
    A forked child does not hold it, whatever its parent does.
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
        """`answer` runs a command; `make_pool` returns connections with a timeout in seconds."""
        super().__init__(name, ttl, timeout, on_lost)
        self._answer = answer
        self._make_pool = make_pool
        self._finalizer: Callable[[], object] = lambda: None

    def acquire(self) -> None:
        """Wait for the lock. Raises LockNotAcquired after `timeout`, or the error of a command."""
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
        """Release the lock. Raises LockLost when it was already lost.

        Returns False when no daemon answers: the lock then expires by itself.
        """
        finalizer = self._finalizer  # after the entry is deleted, it may be another thread's
        try:
            return self._give_back(self._expect_owner())
        finally:
            finalizer()  # after an interrupt too: the traceback may keep this object alive for long

    def _give_back(self, lease: Lease) -> bool:
        """Stop the renewals, and delete the entry if the lock is held. As `release`."""
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
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it. Raises LockLost when it was lost, unless another error leaves the block."""
        finalizer = self._finalizer
        try:
            if self._pid == os.getpid():  # otherwise the lock is the parent's
                with contextlib.suppress(*([] if kind is None else [KvdError])):
                    self.release()
        finally:
            finalizer()

    def _pursue(self, claim: Claim) -> None:
        """Send the claim's commands until the lock is ours. Raises LockNotAcquired, KvdError."""
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
        stops: SimpleQueue[None] = SimpleQueue()
        pool = self._make_pool(lease.ttl_s / REPLY_WAIT_PART)
        renew = threading.Thread(
            target=renew_until_lost, args=(lease, pool, stops, self._on_lost), name="kvd lock", daemon=True
        )
        # The thread refers to the lease, not to the lock: a lock that is dropped is no longer renewed.
        self._finalizer = weakref.finalize(self, stops.put, None)
        self._pid = os.getpid()
        self._lease = lease
        renew.start()

    def _abandon(self, claim: Claim) -> None:
        """Release what an interrupt may have left; without a daemon the entry expires by itself."""
        if self._lease is not None and self._lease.value == claim.value:  # otherwise it is another thread's
            self._finalizer()
            self._lease = None
        if not claim.is_waiting:
            lease = Lease(claim)
            lease.on_error(KvdError("the outcome of the claim is unknown"))
            with contextlib.closing(self._make_pool(lease.ttl_s / REPLY_WAIT_PART)) as pool:
                clear(lease, pool.answer)


def clear(lease: Lease, answer: Answer) -> bool:
    """Delete the entry if it is ours; return whether the daemon confirmed it. Raises Refused."""
    while True:
        try:
            reply = answer(lease.release(new_token()))
        except ClientError:
            return False
        except KvdError as error:
            if not lease.on_error(error):
                raise
            continue
        if lease.on_answer(reply, now_s()):
            return lease.lost is None


def renew_until_lost(lease: Lease, pool: Pool, stops: "SimpleQueue[None]", on_lost: OnLost) -> None:
    """Renew a lease until something is put into `stops`, or the lease is lost."""
    pause_s = lease.ttl_s / RENEWALS_PER_TTL
    with contextlib.closing(pool):
        while not _must_stop(stops, min(pause_s, max(0.0, lease.until - now_s()))):
            if lease.problem(now_s()) is None:
                pause_s = _renew(lease, pool.answer)
            if lease.lost is not None and not lease.is_released:
                on_lost(lease.lost)
                return


def _renew(lease: Lease, answer: Answer) -> float:
    """Renew a lease; return how long to pause before the next renewal."""
    sent_at = now_s()
    try:
        is_done = lease.on_answer(answer(lease.renewal(new_token())), sent_at)
    except KvdError as error:
        return 0.0 if lease.on_error(error) else lease.ttl_s / RETRIES_PER_TTL
    return lease.ttl_s / RENEWALS_PER_TTL if is_done else 0.0


def _must_stop(stops: "SimpleQueue[None]", wait_s: float) -> bool:
    """Wait, at most `wait_s`; return whether to stop."""
    try:
        stops.get(timeout=wait_s)
    except Empty:
        return False
    return True
