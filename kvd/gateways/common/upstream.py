"""A gateway's connections to the daemon: one for the gateway itself, and one for each token with a key."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kvd.client import AsyncClient
from kvd.client.async_watch import AsyncWatch
from kvd.client.keys import Keys
from kvd.commands import Command, Write
from kvd.commands.base import Ok
from kvd.commands.server import Info, Ping
from kvd.errors import BadConfiguration, HistoryChanged, KvdError, OutcomeUnknown, TooLarge
from kvd.gateways.common.tokens import Tokens, digest
from kvd.limits import KEY_BYTES_MAX

# How long a command waits for a connection. Short, so that clients learn at once that the daemon is away.
CONNECT_S = 0.25
ANSWER_S = 5.0
READY_S = 1.0
WATCH_DESCRIPTORS, OTHER_DESCRIPTORS = 12, 100  # a watch has 8 and its client one; the rest is a margin


class NotKnown(KvdError):
    """The request has no token, or one that is not in the token file."""


class Upstream:
    """A connection to the daemon as one of its clients. Watches over it end when its token is revoked."""

    def __init__(self, url: str, keys: Keys | None) -> None:
        """Must be created within the loop. Raises BadConfiguration for a bad url."""
        self.url = url
        self.revoked = asyncio.Event()
        try:
            self.client = AsyncClient(url, timeout=ANSWER_S, connect_timeout=CONNECT_S, keys=keys)
        except ValueError as error:
            raise BadConfiguration(str(error)) from error

    async def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects.

        Raises KvdError; if the token is revoked meanwhile, NotKnown for a read and OutcomeUnknown for a write.
        """
        if self.revoked.is_set():
            raise NotKnown("the token was revoked")
        try:
            return await self.client.answer(command)
        except asyncio.CancelledError:
            if not self.revoked.is_set():
                raise
            if isinstance(command, Write):
                raise OutcomeUnknown("the token was revoked while the command was under way") from None
            raise NotKnown("the token was revoked") from None

    def watch(self, *prefixes: bytes, since: int | None) -> AsyncWatch:
        return self.client.watch(*prefixes, since=since)

    @asynccontextmanager
    async def watching(
        self, prefixes: Sequence[bytes], since: int | None, history: str | None
    ) -> AsyncIterator[AsyncWatch]:
        """Yield a started watch. Raises KvdError, and HistoryChanged if the daemon's history is not `history`."""
        longest = max(map(len, prefixes), default=0)
        if longest > KEY_BYTES_MAX:
            raise TooLarge(f"a prefix has {longest} bytes; at most {KEY_BYTES_MAX} are allowed")
        await self.answer(Ping())  # raises at once without a daemon; a watch would wait for it
        async with self.watch(*prefixes, since=since) as watch:
            # Wait for the start only: to wait until it is caught up would collect all changes since `since` in memory.
            await watch.wait_for_start()
            if history not in (None, watch.inner.history):
                raise HistoryChanged("the daemon has another history, since it was restored: read all keys again")
            yield watch

    async def info(self) -> dict[str, dict[str, Any]]:
        """Return INFO. Raises KvdError, or TimeoutError after a second."""
        async with asyncio.timeout(READY_S):
            return (await self.answer(Info())).result  # type: ignore[no-any-return]

    async def problem(self) -> str | None:
        """Return why the daemon cannot be used now; None if it answers and accepts writes."""
        try:
            reason = (await self.info())["server"]["read_only"]
        except TimeoutError:
            return f"the daemon at {self.url} does not answer within {READY_S:g} s"
        except KvdError as error:
            return f"the daemon does not answer: {error}"
        return None if reason is None else f"the daemon takes no writes: {reason}"


def watches_max(watches: int) -> int:
    """Bound a number of watches by the descriptors available: libzmq aborts the process when none is left."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_DESCRIPTORS
    return min(watches, max(0, descriptors) // WATCH_DESCRIPTORS)


class UpstreamPool:
    """The gateway's daemon connections, keyed by the request's token."""

    def __init__(self, url: str, keys: Keys | None, tokens: Tokens | None) -> None:
        """Without tokens, every client uses the gateway's connection. Must be created within the loop.

        Raises BadConfiguration.
        """
        self.url = url
        self.keys = keys
        self.own = Upstream(url, keys)
        self.tokens = tokens
        self.others: dict[str, Upstream] = {}

    def upstream_of(self, token: str | None) -> Upstream:
        """Return the connection for a request's token. Raises NotKnown."""
        if self.tokens is None:
            return self.own
        if token is None:
            raise NotKnown("a token is needed: Authorization: Bearer TOKEN")
        token_digest = digest(token)
        principal = self.tokens.get(token_digest)
        if principal is None:
            raise NotKnown("the token is not valid, or no longer")
        upstream = self.others.get(token_digest)
        if upstream is None:
            upstream = self.others[token_digest] = Upstream(self.url, principal.keys or self.keys)
        return upstream

    async def use_tokens(self, tokens: Tokens) -> None:
        """Apply a new token file. Connections of tokens that are gone or have another key are closed."""
        before, self.tokens = self.tokens or {}, tokens
        for token_digest in [
            token_digest for token_digest in self.others if tokens.get(token_digest) != before.get(token_digest)
        ]:
            upstream = self.others.pop(token_digest)
            upstream.revoked.set()
            await upstream.client.close()

    async def close(self) -> None:
        for upstream in (self.own, *self.others.values()):
            with contextlib.suppress(Exception):
                await upstream.client.close()
