"""The NATS bridge: publishes every change, in order, at least once, and stores its position in kvd.

    watch -> publish -> confirmed by the server (PONG, or JetStream's ack) -> position -> kvd:nats:NAME

Unconfirmed messages are published again: after a connection to NATS is lost, both sides restart from the position.
nats-py's own reconnecting is off, because it could send the end of a batch after its beginning was lost.
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
# The position is also stored after this many changes without a published one: otherwise an idle bridge's position could
# be compacted away. With a smaller number, bridges would react to each other's stores.
SKIPPED_MAX = 1_000
TRANSIENT = (ClientError, Busy, Full, ReadOnly, ShuttingDown)
RESTART_ADVICE = (
    "read all keys again, then start it with --since now; or start it with --since start for all stored changes"
)


class Bridge:
    """Publishes the daemon's changes to NATS."""

    def __init__(
        self,
        url: str,
        keys: Keys | None,
        nats_server: NatsServer,
        *,
        name: str,
        prefixes: Sequence[bytes],
        with_changes: bool,
        since: str | None,
    ) -> None:
        """Must be created within the loop. Raises BadConfiguration."""
        nats_server.options()
        self.upstream = Upstream(url, keys)
        self.nats_server, self.prefixes, self.with_changes, self.since = nats_server, prefixes, with_changes, since
        self.cursor_store = CursorStore(self.upstream, name)
        self.history, self.position = "", 0
        self.published = 0  # revision of the last change that was published
        self.publishing = asyncio.Lock()
        self.is_closing = False

    async def open(self) -> str:
        """Determine the position, if the daemon answers; else `serve` waits for it. Raises KvdError."""
        try:
            await self._start()
        except TRANSIENT as error:
            self._log_waiting(error, RETRY_S)
            return f"{self.nats_server.address} for {self.upstream.url}"
        return f"{self.nats_server.address} from revision {self.position} of {self.upstream.url}"

    async def _start(self) -> None:
        """Determine the position, and store it to claim the name. Raises BadConfiguration, KvdError."""
        info = (await self.upstream.answer(Info())).result
        history, head, compacted = info["server"]["history"], info["server"]["revision"], info["store"]["compacted"]
        stored = await self.cursor_store.read()
        if self.since is None and stored is not None:
            if stored.history != history:
                raise BridgeEnded(f"the daemon has another history than the bridge's position: {RESTART_ADVICE}")
            position = stored.revision
        elif self.since == START:
            position = compacted
        else:
            position = head if self.since in (None, NOW) else _parse_revision(self.since or "", head)
        if position < compacted:
            raise BridgeEnded(f"the changes after {position} are compacted up to {compacted}: {RESTART_ADVICE}")
        await self.cursor_store.write(history, position)
        self.history, self.position = history, position

    async def _wait_for_daemon(self) -> None:
        """Determine the position, unless `open` has, once the daemon answers. Raises BadConfiguration, KvdError."""
        wait_s = RETRY_S
        while not self.history:
            await asyncio.sleep(wait_s)
            try:
                await self._start()
            except TRANSIENT as error:
                wait_s = min(2 * wait_s, RETRY_S_MAX)
                self._log_waiting(error, wait_s)

    def _log_waiting(self, error: Exception, wait_s: float) -> None:
        """Log that the daemon or NATS is away."""
        log.warning("event=bridge_waits %s", f"{type(error).__name__} {error}: retrying in {wait_s:g} s")

    async def serve(self) -> None:
        """Wait for the daemon; publish until that is no longer possible. Raises BadConfiguration, KvdError."""
        await self._wait_for_daemon()
        tasks = [asyncio.create_task(self._publish_all()), asyncio.create_task(self._save_on_interval())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish_all(self) -> None:
        """Publish; start again whenever the connection to NATS is lost, or the daemon is away at its start."""
        wait_s = RETRY_S
        while not self.is_closing:
            sink = NatsSink(self.nats_server)
            published_before = self.published
            try:
                await sink.open()
                log.info("event=nats_connected %s", self.nats_server.address)
                await self._run_session(sink)
            except (*Lost, ClientError) as error:
                if isinstance(error, HistoryChanged):
                    raise BridgeEnded(f"{error}: {RESTART_ADVICE}") from error
                wait_s = RETRY_S if self.published != published_before else min(2 * wait_s, RETRY_S_MAX)
                self._log_waiting(error, wait_s)
            except Compacted as error:
                raise BridgeEnded(f"{error}: {RESTART_ADVICE}") from error
            finally:
                await sink.close()
            await asyncio.sleep(wait_s)
        # The bridge is closing. A cancellation may not arrive here: wait_for can drop one (bpo-42130).

    async def _run_session(self, sink: NatsSink) -> None:
        """Publish changes over one connection to NATS. Raises OSError, nats.errors.Error, KvdError."""
        async with contextlib.aclosing(
            ChangeSource(self.upstream.watch(*self.prefixes, since=self.position))
        ) as source:
            while True:
                changes, through = await source.take()
                if source.history not in (None, self.history):
                    raise HistoryChanged("the daemon has another history than the bridge's position")
                async with self.publishing:
                    await self._publish(sink, changes, through)
                if self.is_closing:
                    return

    async def _publish(self, sink: NatsSink, changes: Sequence[Change], through: int) -> None:
        """Publish changes in chunks, and advance the position after each. Raises as `_run_session`."""
        messages: list[Message] = []
        size = 0
        for number, change in enumerate(changes, start=1):
            if not change.key.startswith(OWN_PREFIX):
                new_messages = [
                    *messages_of(change, self.history, sink.client.max_payload, with_changes=self.with_changes)
                ]
                messages += new_messages
                size += sum(len(each.body) for each in new_messages)
            if number == len(changes) or len(messages) >= NATS_CHUNK_CHANGES or size >= NATS_CHUNK_BYTES:
                if self.is_closing:
                    return  # the position of further messages would not be stored
                if messages:
                    await sink.publish(messages)
                    self.published = change.revision
                self.position = change.revision
                messages, size = [], 0
        if not self.is_closing:
            self.position = max(self.position, through)

    async def _save_on_interval(self) -> None:
        """Store the position, at most once a second. Raises BridgeEnded, KvdError."""
        is_logged = False
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                await self._save()
                is_logged = False
            except TRANSIENT as error:
                if not is_logged:
                    log.warning("event=position_not_kept %s", str(error))
                is_logged = True

    async def _save(self) -> None:
        """Store the position if it has advanced. Raises KvdError."""
        stored = 0 if self.cursor_store.stored is None else self.cursor_store.stored.revision
        if self.published > stored or self.position >= stored + SKIPPED_MAX:
            await self.cursor_store.write(self.history, self.position)

    async def reload(self) -> None:
        """Do nothing: there is nothing to reload."""

    async def close(self) -> None:
        """Complete the current publish, store the position, disconnect from the daemon."""
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
    """Reads a watch: changes, and the revision through which they are complete."""

    def __init__(self, watch: AsyncWatch) -> None:
        self.watch = watch
        self.task: asyncio.Task[list[Change]] | None = None

    @property
    def history(self) -> str | None:
        """Return the history of the watch, None before the daemon has answered."""
        return self.watch.inner.history

    async def take(self) -> tuple[list[Change], int]:
        """Return changes, none after SAVE_S, and the revision through which they are complete. Raises KvdError."""
        self.task = self.task or asyncio.create_task(self.watch.take())
        await asyncio.wait({self.task}, timeout=SAVE_S)
        if not self.task.done():
            return [], self.watch.revision
        task, self.task = self.task, None
        changes = task.result()
        return changes, changes[-1].revision if changes else self.watch.revision

    async def aclose(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.watch.close()


def _parse_revision(text: str, head: int) -> int:
    """Parse the revision of --since. Raises BadConfiguration if the daemon has not reached it."""
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(head)) or int(digits) > head:
        raise BadConfiguration(f"--since {text[:40]}: the daemon is at revision {head}")
    return int(digits)
