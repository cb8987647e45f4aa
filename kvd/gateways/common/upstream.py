"""The daemon behind a gateway: a connection for the gateway itself, and one for each holder of a token with a key."""

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

# How long a command waits for a connection: who is behind a gateway is told at once that the daemon is away.
CONNECT_S = 0.25
ANSWER_S = 5.0
READY_S = 1.0
WATCH_DESCRIPTORS, OTHER_DESCRIPTORS = 12, 100  # 8 of its own, one of its client, and some for all else


class NotKnown(KvdError):
    """No token came, or one that is nobody's."""


class Upstream:
    """A way to the daemon, as one of its clients. Who follows changes by it ends when it is revoked."""

    def __init__(self, url: str, keys: Keys | None) -> None:
        """To be made within the loop. Raises BadConfiguration for a bad url."""
        self.url = url
        self.revoked = asyncio.Event()
        try:
            self.client = AsyncClient(url, timeout=ANSWER_S, connect_timeout=CONNECT_S, keys=keys)
        except ValueError as error:
            raise BadConfiguration(str(error)) from error

    async def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects. Raises KvdError.

        NotKnown and OutcomeUnknown, too, when the token is taken away meanwhile.
        """
        if self.revoked.is_set():
            raise NotKnown("the token was taken away")
        try:
            return await self.client.answer(command)
        except asyncio.CancelledError:
            if not self.revoked.is_set():
                raise
            if isinstance(command, Write):
                raise OutcomeUnknown("the token was taken away while the command was under way") from None
            raise NotKnown("the token was taken away") from None

    def watch(self, *prefixes: bytes, since: int | None) -> AsyncWatch:
        """Follow changes, complete and in order."""
        return self.client.watch(*prefixes, since=since)

    @asynccontextmanager
    async def watching(
        self, prefixes: Sequence[bytes], since: int | None, history: str | None
    ) -> AsyncIterator[AsyncWatch]:
        """Give a watch that has begun: what it follows is there, of this history if one is named. Raises KvdError."""
        longest = max(map(len, prefixes), default=0)
        if longest > KEY_BYTES_MAX:
            raise TooLarge(f"a prefix has {longest} bytes; at most {KEY_BYTES_MAX} are allowed")
        await self.answer(Ping())  # without a daemon it says so at once, where a watch would wait for one
        async with self.watch(*prefixes, since=since) as watch:
            # Not until it is ready: all changes since long ago would gather here first.
            await watch.wait_for_start()
            if history not in (None, watch.inner.history):
                raise HistoryChanged("the daemon has another history: it was restored. Read everything anew")
            yield watch

    async def info(self) -> dict[str, dict[str, Any]]:
        """Return INFO; raises KvdError, or TimeoutError, when it does not come within a second."""
        async with asyncio.timeout(READY_S):
            return (await self.answer(Info())).result  # type: ignore[no-any-return]

    async def problem(self) -> str | None:
        """Return why the daemon cannot be used now; None when it answers and takes writes."""
        try:
            reason = (await self.info())["server"]["read_only"]
        except TimeoutError:
            return f"the daemon at {self.url} does not answer within {READY_S:g} s"
        except KvdError as error:
            return f"the daemon does not answer: {error}"
        return None if reason is None else f"the daemon takes no writes: {reason}"


def watches_max(most: int) -> int:
    """Return how many watches may be, at most so many: libzmq ends a process that has no descriptor left."""
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_DESCRIPTORS
    return min(most, max(0, room) // WATCH_DESCRIPTORS)


class UpstreamPool:
    """The links of a gateway, by whose token a request brings."""

    def __init__(self, url: str, keys: Keys | None, tokens: Tokens | None) -> None:
        """Without tokens, everybody is the gateway. To be made within the loop. Raises BadConfiguration."""
        self.url = url
        self.keys = keys
        self.own = Upstream(url, keys)
        self.tokens = tokens
        self.others: dict[str, Upstream] = {}

    def upstream_of(self, token: str | None) -> Upstream:
        """Return the link of who brings a token, or none; raises NotKnown."""
        if self.tokens is None:
            return self.own
        if token is None:
            raise NotKnown("a token is needed: Authorization: Bearer TOKEN")
        known = digest(token)
        holder = self.tokens.get(known)
        if holder is None:
            raise NotKnown("the token is nobody's, or no longer")
        link = self.others.get(known)
        if link is None:
            link = self.others[known] = Upstream(self.url, holder.keys or self.keys)
        return link

    async def use_tokens(self, tokens: Tokens) -> None:
        """Use what a token file says now: whose token is gone, or means somebody else, is cut off."""
        before, self.tokens = self.tokens or {}, tokens
        for known in [known for known in self.others if tokens.get(known) != before.get(known)]:
            link = self.others.pop(known)
            link.revoked.set()
            await link.client.close()

    async def close(self) -> None:
        """Close them all."""
        for link in (self.own, *self.others.values()):
            with contextlib.suppress(Exception):
                await link.client.close()
