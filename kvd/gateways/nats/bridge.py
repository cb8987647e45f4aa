"""The NATS bridge: publishes every change, in order, at least once, and keeps in kvd how far it is.

    watch -> publish -> the server has it (PONG, or JetStream's ack) -> position -> kvd:nats:NAME

What is not known to be with the server is published again: after any loss of the connection there both sides are begun
anew from the position. nats-py's own reconnecting is off, for it would send the end of a batch whose beginning is lost.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from kvd.client.async_watch import AsyncWatch
from kvd.client.keys import Keys
from kvd.commands.model import Change
from kvd.commands.server import Info
from kvd.errors import (
    BadConfiguration,
    Busy,
    ClientError,
    Compacted,
    Full,
    HistoryChanged,
    KvdError,
    ReadOnly,
    ShuttingDown,
)
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.nats.cursor import CursorStore
from kvd.gateways.nats.messages import OWN_PREFIX, BridgeEnded, Message, messages_of
from kvd.gateways.nats.sink import Lost, NatsServer, NatsSink
from kvd.limits import NATS_CHUNK_BYTES, NATS_CHUNK_CHANGES

log = logging.getLogger(__name__)

START, NOW = "start", "now"
SAVE_S = 1.0
STOP_S = 5.0
RETRY_S, RETRY_S_MAX = 0.05, 2.0
# The position is written also when so many changes have gone by of which none was ours: else they could be compacted
# away under a bridge that has nothing to do. Fewer, and bridges would count each other's writes.
SKIPPED_MAX = 1_000
MENDED = (ClientError, Busy, Full, ReadOnly, ShuttingDown)
ANEW = "read what there is anew, then start it with --since now; or with --since start for all changes that are kept"


class Bridge:
    """From the daemon's changes to NATS."""

    def __init__(
        self,
        url: str,
        keys: Keys | None,
        target: NatsServer,
        *,
        name: str,
        prefixes: Sequence[bytes],
        with_changes: bool,
        since: str | None,
    ) -> None:
        """To be made within the loop. Raises BadConfiguration."""
        target.options()
        self.upstream = Upstream(url, keys)
        self.target, self.prefixes, self.with_changes, self.since = target, prefixes, with_changes, since
        self.cursor_store = CursorStore(self.upstream, name)
        self.history, self.position = "", 0
        self.published = 0  # the revision of the last change that went out
        self.publishing = asyncio.Lock()
        self.is_closing = False

    async def open(self) -> str:
        """Find out where to go on, and take the name, if the daemon is there; `serve` waits for it. Raises KvdError."""
        try:
            await self.begin()
        except MENDED as error:
            self._log_waiting(error, RETRY_S)
            return f"{self.target.place} for {self.upstream.url}"
        return f"{self.target.place} from revision {self.position} of {self.upstream.url}"

    async def begin(self) -> None:
        """Find out where to go on, and take the name. Raises BadConfiguration, KvdError."""
        info = (await self.upstream.answer(Info())).result
        history, head, compacted = info["server"]["history"], info["server"]["revision"], info["store"]["compacted"]
        kept = await self.cursor_store.read()
        if self.since is None and kept is not None:
            if kept.history != history:
                raise BridgeEnded(f"the daemon has another history than the one that was bridged: {ANEW}")
            position = kept.revision
        elif self.since == START:
            position = compacted
        else:
            position = head if self.since in (None, NOW) else revision_of(self.since or "", head)
        if position < compacted:
            raise BridgeEnded(f"the changes after {position} are compacted away up to {compacted}: {ANEW}")
        await self.cursor_store.write(history, position)
        self.history, self.position = history, position

    async def _start_revision(self) -> None:
        """Begin, as soon as the daemon is there. Raises BadConfiguration, KvdError."""
        wait_s = RETRY_S
        while not self.history:
            await asyncio.sleep(wait_s)
            try:
                await self.begin()
            except MENDED as error:
                wait_s = min(2 * wait_s, RETRY_S_MAX)
                self._log_waiting(error, wait_s)

    def _log_waiting(self, error: Exception, wait_s: float) -> None:
        """Log that somebody is away."""
        log.warning("event=bridge_waits %s", f"{type(error).__name__} {error}: trying again in {wait_s:g} s")

    async def serve(self) -> None:
        """Wait for the daemon, and bridge until there is no going on. Raises BadConfiguration, KvdError."""
        await self._start_revision()
        tasks = [asyncio.create_task(self.follow()), asyncio.create_task(self._save_on_interval())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(self) -> None:
        """Publish, and begin anew whenever the NATS server, or at the start of it the daemon, is lost."""
        wait_s = RETRY_S
        while not self.is_closing:
            outlet = NatsSink(self.target)
            begun = self.published
            try:
                await outlet.open()
                log.info("event=nats_connected %s", self.target.place)
                await self.session(outlet)
            except (*Lost, ClientError) as error:
                if isinstance(error, HistoryChanged):
                    raise BridgeEnded(f"{error}: {ANEW}") from error
                wait_s = RETRY_S if self.published != begun else min(2 * wait_s, RETRY_S_MAX)
                self._log_waiting(error, wait_s)
            except Compacted as error:
                raise BridgeEnded(f"{error}: {ANEW}") from error
            finally:
                await outlet.close()
            await asyncio.sleep(wait_s)
        # Closing. A cancellation does not always come this far: wait_for drops one that meets its result (bpo-42130).

    async def session(self, outlet: NatsSink) -> None:
        """Publish what comes, over one connection to NATS. Raises OSError, nats.errors.Error, KvdError."""
        async with contextlib.aclosing(ChangeSource(self.upstream.watch(*self.prefixes, since=self.position))) as inlet:
            while True:
                changes, upto = await inlet.take()
                if inlet.history not in (None, self.history):
                    raise HistoryChanged("the daemon has another history than the one that was bridged")
                async with self.publishing:
                    await self.publish(outlet, changes, upto)
                if self.is_closing:
                    return

    async def publish(self, outlet: NatsSink, changes: Sequence[Change], upto: int) -> None:
        """Publish changes in portions, and move on with each. Raises as `session`."""
        messages: list[Message] = []
        size = 0
        for number, change in enumerate(changes, start=1):
            if not change.key.startswith(OWN_PREFIX):
                made = [*messages_of(change, self.history, outlet.client.max_payload, with_changes=self.with_changes)]
                messages += made
                size += sum(len(each.body) for each in made)
            if number == len(changes) or len(messages) >= NATS_CHUNK_CHANGES or size >= NATS_CHUNK_BYTES:
                if self.is_closing:
                    return  # nothing goes out whose position is not kept
                if messages:
                    await outlet.publish(messages)
                    self.published = change.revision
                self.position = change.revision
                messages, size = [], 0
        if not self.is_closing:
            self.position = max(self.position, upto)

    async def _save_on_interval(self) -> None:
        """Keep the position, at most each second. Raises BridgeEnded, KvdError."""
        is_told = False
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                await self._save()
                is_told = False
            except MENDED as error:
                if not is_told:
                    log.warning("event=position_not_kept %s", str(error))
                is_told = True

    async def _save(self) -> None:
        """Keep the position if there is a reason to. Raises KvdError."""
        kept = 0 if self.cursor_store.kept is None else self.cursor_store.kept.revision
        if self.published > kept or self.position >= kept + SKIPPED_MAX:
            await self.cursor_store.write(self.history, self.position)

    async def reload(self) -> None:
        """Nothing may change."""

    async def close(self) -> None:
        """Let what is under way come to the server, keep the position, let the daemon go."""
        self.is_closing = True
        try:
            async with asyncio.timeout(STOP_S):
                async with self.publishing:
                    pass
                if self.history:
                    await self._save()
        except (TimeoutError, KvdError) as error:
            log.warning("event=position_not_kept %s", f"some changes will be published again: {error}")
        with contextlib.suppress(Exception):
            await self.upstream.client.close()


class ChangeSource:
    """A watch: the changes that are there, and up to where that is all."""

    def __init__(self, watch: AsyncWatch) -> None:
        self.watch = watch
        self.task: asyncio.Task[list[Change]] | None = None

    @property
    def history(self) -> str | None:
        """Return the history that is followed, None before the daemon was reached."""
        return self.watch.inner.history

    async def take(self) -> tuple[list[Change], int]:
        """Return changes, or none when time went by, and up to which revision these are all. Raises KvdError."""
        self.task = self.task or asyncio.create_task(self.watch.take())
        await asyncio.wait({self.task}, timeout=SAVE_S)
        if not self.task.done():
            return [], self.watch.revision
        taken, self.task = self.task, None
        changes = taken.result()
        return changes, changes[-1].revision if changes else self.watch.revision

    async def aclose(self) -> None:
        """Stop watching."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.watch.close()


def revision_of(text: str, head: int) -> int:
    """Return the revision that --since names in digits. Raises BadConfiguration for one that is not there yet."""
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(head)) or int(digits) > head:
        raise BadConfiguration(f"--since {text[:40]}: the daemon is at revision {head}")
    return int(digits)
