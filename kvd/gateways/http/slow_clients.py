"""Bounds the bytes that clients have not read: disconnects clients that stall, and the largest ones beyond a total."""

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from kvd.limits import HTTP_SILENT_MS, HTTP_UNSENT_BYTES_MAX

log = logging.getLogger(__name__)

CHECK_S = 1.0


class SlowClients:
    """Connections with unread bytes: how many at the last check, and since when the number has not decreased."""

    def __init__(self) -> None:
        self.unread: dict[Any, tuple[int, int, float]] = {}

    def check(
        self,
        transports: list[Any],
        now: float,
        shares: Mapping[Any, int] = MappingProxyType({}),
        drained: Mapping[Any, int] = MappingProxyType({}),
    ) -> list[Any]:
        """Return the connections to close: stalled for HTTP_SILENT_MS, or the largest ones above HTTP_UNSENT_BYTES_MAX.

        `shares`: each connection's part of the cached changes that it is being sent. `drained`: how often its buffer
        has run nearly empty. If that has increased, the client reads, even if as many bytes wait as before.
        """
        unread = {each: size for each in transports if (size := each.get_write_buffer_size())}
        before, self.unread = self.unread, {}
        closing = []
        for each, size in unread.items():
            count = drained.get(each, 0)
            last, last_count, since = before.get(each, (0, 0, now))
            is_stalled = last and size >= last and count == last_count
            self.unread[each] = (size, count, since if is_stalled else now)
            if now - self.unread[each][2] >= HTTP_SILENT_MS / 1000:
                closing.append(each)
        due = {each: size + shares.get(each, 0) for each, size in unread.items() if each not in closing}
        total = sum(due.values())
        for each in sorted(due, key=lambda each: -due[each]):
            if total <= HTTP_UNSENT_BYTES_MAX:
                break
            closing.append(each)
            total -= due[each]
        return closing


async def check_regularly(state: Any) -> None:
    """Close slow connections of uvicorn's state every CHECK_S."""
    clients = SlowClients()
    while True:
        await asyncio.sleep(CHECK_S)
        connections = [each for each in state.connections if each.transport is not None]
        shares = {each.transport: each.record.share for each in connections if each.record is not None}
        drained = {each.transport: each.drained for each in connections}
        for transport in clients.check([*drained], asyncio.get_running_loop().time(), shares, drained):
            log.warning(
                "event=client_ended unsent=%d the client takes too little of its answer", clients.unread[transport][0]
            )
            transport.abort()
