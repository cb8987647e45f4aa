"""The lock of the asyncio client. A task renews it at a third of its time to live; lease.py makes the decisions."""

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from kvd.client.lease import Claim, Lease
from kvd.client.lock import (
    RENEWALS_PER_TTL,
    REPLY_WAIT_PART,
    RETRIES_PER_TTL,
    LockState,
    OnLost,
    new_token,
    new_value,
    now_s,
)
from kvd.client.values import Seconds, Text
from kvd.commands import Command
from kvd.commands.base import Ok
from kvd.errors import ClientError, KvdError, NoReply

Answer = Callable[[Command], Awaitable[Ok]]
_cleanups: set["asyncio.Task[bool]"] = set()  # the event loop holds its tasks only weakly


class AsyncLock(LockState):
    """A lock that one client holds at a time. `AsyncClient.lock` returns one.

    It is not reentrant: a holder that acquires it again waits for itself. `on_lost` is called in the event loop.
    """

    def __init__(  # the options of a lock are its arguments
        self, answer: Answer, name: Text, ttl: Seconds, *, timeout: Seconds | None, on_lost: OnLost | None
    ) -> None:
        super().__init__(name, ttl, timeout, on_lost)
        self._answer = answer
        self._finalizer: Callable[[], object] = lambda: None

    async def acquire(self) -> None:
        """Wait for the lock. Raises LockNotAcquired after `timeout`, or the error of a command."""
        claim = Claim(self._key, new_value(), self._ttl_ms)
        try:
            await self._pursue(claim)
        except asyncio.CancelledError:
            if not claim.is_waiting:
                self._abandon(Lease(claim))
            raise
        self._begin(Lease(claim))

    async def release(self) -> bool:
        """Release the lock. Raises LockLost when it was already lost.

        Returns False when no daemon answers: the lock then expires by itself.
        """
        lease = self._expect_owner()
        self._finalizer()
        self._lease = None
        problem = lease.problem(now_s())
        lease.is_released = True
        if problem is not None:
            raise problem
        is_cleared = await asyncio.shield(self._clear_later(lease))
        if lease.lost is not None:
            raise lease.lost
        return is_cleared

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it. Raises LockLost when it was lost, unless another error leaves the block."""
        if self._pid != os.getpid():
            return  # the lock is the parent's
        with contextlib.suppress(*([] if kind is None else [KvdError])):
            await self.release()

    async def _pursue(self, claim: Claim) -> None:
        """Send the claim's commands until the lock is ours. Raises LockNotAcquired, KvdError."""
        until = None if self._timeout is None else time.monotonic() + self._timeout
        while not claim.fencing:
            rest_s = None if until is None else until - time.monotonic()
            if rest_s is not None and rest_s <= 0 and claim.is_waiting:
                raise self._not_acquired()
            try:
                answer = await self._answer(claim.command(new_token(), now_s(), rest_s))
            except KvdError as error:
                pause_s = claim.on_error(error)
                if pause_s and rest_s is not None and rest_s <= 0:
                    raise
                await asyncio.sleep(pause_s)
            else:
                claim.on_answer(answer, now_s())

    def _begin(self, lease: Lease) -> None:
        """Hold the lock, and renew it from now on."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(renew_until_lost(lease, self._answer, self._on_lost), name="kvd lock")
        # The task refers to the lease, not to the lock: a lock that is dropped is no longer renewed.
        self._finalizer = weakref.finalize(self, _cancel_task, loop, task)
        self._pid = os.getpid()
        self._lease = lease

    def _abandon(self, lease: Lease) -> None:
        """Release what a cancelled acquisition may have left; the caller does not wait."""
        lease.on_error(KvdError("the outcome of the claim is unknown"))
        self._clear_later(lease)

    def _clear_later(self, lease: Lease) -> "asyncio.Task[bool]":
        """Delete the entry in a separate task, which a caller's cancellation does not stop."""
        task = asyncio.get_running_loop().create_task(clear(lease, self._answer))
        _cleanups.add(task)
        task.add_done_callback(_cleanups.discard)
        return task


def _cancel_task(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    """Cancel a task of an event loop that may run in another thread, or be closed."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)


async def _answer_within(answer: Answer, command: Command, timeout_s: float) -> Ok:
    """Run a command. Raises NoReply after `timeout_s`."""
    try:
        return await asyncio.wait_for(answer(command), timeout_s)
    except TimeoutError:
        raise NoReply("no reply in time") from None


async def clear(lease: Lease, answer: Answer) -> bool:
    """Delete the entry if it is ours; return whether the daemon confirmed it. Raises Refused."""
    while True:
        try:
            reply = await _answer_within(answer, lease.release(new_token()), lease.ttl_s / REPLY_WAIT_PART)
        except ClientError:
            return False
        except KvdError as error:
            if not lease.on_error(error):
                raise
            continue
        if lease.on_answer(reply, now_s()):
            return lease.lost is None


async def renew_until_lost(lease: Lease, answer: Answer, on_lost: OnLost) -> None:
    """Renew a lease until it is lost."""
    pause_s = lease.ttl_s / RENEWALS_PER_TTL
    while True:
        await asyncio.sleep(min(pause_s, max(0.0, lease.until - now_s())))
        if lease.problem(now_s()) is None:
            pause_s = await _renew(lease, answer)
        if lease.lost is not None and not lease.is_released:
            on_lost(lease.lost)
            return


async def _renew(lease: Lease, answer: Answer) -> float:
    """Renew a lease; return how long to pause before the next renewal."""
    sent_at = now_s()
    try:
        reply = await _answer_within(answer, lease.renewal(new_token()), lease.ttl_s / REPLY_WAIT_PART)
    except KvdError as error:
        return 0.0 if lease.on_error(error) else lease.ttl_s / RETRIES_PER_TTL
    return lease.ttl_s / RENEWALS_PER_TTL if lease.on_answer(reply, sent_at) else 0.0
