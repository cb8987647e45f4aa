"""Shared by all calls: authentication, error reporting, and ending streams."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from kvd.errors import KvdError, ShuttingDown
from kvd.gateways.common.tokens import bearer
from kvd.gateways.common.upstream import NotKnown, Upstream, UpstreamPool
from kvd.gateways.grpc.status import metadata_of, sentence_of, status_of


def upstream_of(upstreams: UpstreamPool, context: Any) -> Upstream:
    """Return the upstream connection for a call's token. Raises NotKnown."""
    return upstreams.own if upstreams.tokens is None else upstreams.upstream_of(_token_in(context))


def _token_in(context: Any) -> str | None:
    """Return the token in a call's metadata, or None."""
    tokens = (bearer(value) for name, value in context.invocation_metadata() or () if name == "authorization")
    return next((token for token in tokens if token is not None), None)


async def refuse(context: Any, error: KvdError) -> NoReturn:
    """End a call with an error. Drops the traceback: it would keep the message alive in a reference cycle."""
    error.__traceback__ = None
    await context.abort(status_of(error), sentence_of(error), metadata_of(error))
    raise AssertionError from error  # abort does not return


class Streams:
    """The open streams. They end when the gateway stops or the token is revoked."""

    def __init__(self) -> None:
        self.running: dict[asyncio.Task[Any], Upstream | None] = {}
        self.reasons: dict[asyncio.Task[Any], KvdError] = {}
        self.is_over = False

    @contextmanager
    def registered(self, upstream: Upstream | None) -> Iterator[None]:
        """Register the current task as a stream. When the gateway ends it, raise the KvdError that says why."""
        task = asyncio.current_task()
        assert task is not None
        if self.is_over:
            raise _stop_error()
        self.running[task] = upstream
        try:
            yield
        except asyncio.CancelledError:
            reason = self.reasons.get(task)
            if reason is None:
                raise
            task.uncancel()
            raise reason from None
        finally:
            del self.running[task]
            self.reasons.pop(task, None)

    def end_all(self) -> None:
        """End all streams, and refuse new ones."""
        self.is_over = True
        for task in self.running:
            self._end(task, _stop_error())

    def end_revoked(self) -> None:
        """End the streams of revoked tokens."""
        for task, upstream in self.running.items():
            if upstream is not None and upstream.revoked.is_set():
                self._end(task, NotKnown("the token was revoked"))

    def _end(self, task: asyncio.Task[Any], reason: KvdError) -> None:
        """End a stream, unless it is already being ended."""
        if task not in self.reasons:
            self.reasons[task] = reason
            task.cancel()


def _stop_error() -> KvdError:
    """Return the error that ends streams when the gateway stops."""
    return ShuttingDown("the gateway is shutting down: call again")
