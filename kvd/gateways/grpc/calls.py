"""What each call has in common: whose it is, how its error is told, and how calls without an end are ended."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from kvd.errors import KvdError, ShuttingDown
from kvd.gateways.common.tokens import bearer
from kvd.gateways.common.upstream import NotKnown, Upstream, UpstreamPool
from kvd.gateways.grpc.status import metadata_of, sentence_of, status_of


def upstream_of(links: UpstreamPool, context: Any) -> Upstream:
    """Return the link of who calls. Raises NotKnown."""
    return links.own if links.tokens is None else links.upstream_of(_token_in(context))


def _token_in(context: Any) -> str | None:
    """Return the token that a call brings, if it brings one."""
    found = (bearer(value) for name, value in context.invocation_metadata() or () if name == "authorization")
    return next((token for token in found if token is not None), None)


async def refuse(context: Any, error: KvdError) -> NoReturn:
    """End a call with an error. Its traceback would hold the message, in a ring that only the collector ends."""
    error.__traceback__ = None
    await context.abort(status_of(error), sentence_of(error), metadata_of(error))
    raise AssertionError from error  # abort does not return


class Streams:
    """The calls that have no end of their own. They are ended when we stop, or when the token is taken back."""

    def __init__(self) -> None:
        self.running: dict[asyncio.Task[Any], Upstream | None] = {}
        self.reasons: dict[asyncio.Task[Any], KvdError] = {}
        self.is_over = False

    @contextmanager
    def endable(self, link: Upstream | None) -> Iterator[None]:
        """Run the body until it is ended: then raise why, as a KvdError. Also while a write waits for its reader."""
        task = asyncio.current_task()
        assert task is not None
        if self.is_over:
            raise _end_on_reload()
        self.running[task] = link
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
        """We stop."""
        self.is_over = True
        for task in self.running:
            self.end(task, _end_on_reload())

    def end_revoked(self) -> None:
        """End those whose token was taken back."""
        for task, link in self.running.items():
            if link is not None and link.revoked.is_set():
                self.end(task, NotKnown("the token was taken back"))

    def end(self, task: asyncio.Task[Any], reason: KvdError) -> None:
        """End one, once."""
        if task not in self.reasons:
            self.reasons[task] = reason
            task.cancel()


def _end_on_reload() -> KvdError:
    """Return what a stream is told when we stop."""
    return ShuttingDown("the gateway is about to end: call again")
