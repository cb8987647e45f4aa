"""What clients have not taken yet: who takes nothing is ended, and who is owed most when all are owed too much."""

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from kvd.limits import HTTP_SILENT_MS, HTTP_UNSENT_BYTES_MAX

log = logging.getLogger(__name__)

LOOK_S = 1.0


class SlowClients:
    """The connections that are owed something: how much at the last look, and since when it is no less."""

    def __init__(self) -> None:
        self.owed: dict[Any, tuple[int, int, float]] = {}

    def check(
        self,
        transports: list[Any],
        now: float,
        shares: Mapping[Any, int] = MappingProxyType({}),
        drained: Mapping[Any, int] = MappingProxyType({}),
    ) -> list[Any]:
        """Return those to end: who has taken nothing for HTTP_SILENT_MS; who is owed most, while all is too much.

        `shares`: what each is owed of changes that several are being sent. `drained`: how often each had taken nearly
        all it was owed, so that it was sent more: then as much may wait as before.
        """
        owed = {each: size for each in transports if (size := each.get_write_buffer_size())}
        before, self.owed = self.owed, {}
        ended = []
        for each, size in owed.items():
            count = drained.get(each, 0)
            last, last_count, since = before.get(each, (0, 0, now))
            is_still = last and size >= last and count == last_count
            self.owed[each] = (size, count, since if is_still else now)
            if now - self.owed[each][2] >= HTTP_SILENT_MS / 1000:
                ended.append(each)
        due = {each: size + shares.get(each, 0) for each, size in owed.items() if each not in ended}
        total = sum(due.values())
        for each in sorted(due, key=lambda each: -due[each]):
            if total <= HTTP_UNSENT_BYTES_MAX:
                break
            ended.append(each)
            total -= due[each]
        return ended


async def check_regularly(state: Any) -> None:
    """Look at the connections of uvicorn's state for as long as it serves."""
    debts = SlowClients()
    while True:
        await asyncio.sleep(LOOK_S)
        connections = [each for each in state.connections if each.transport is not None]
        shares = {each.transport: each.record.share for each in connections if each.record is not None}
        drained = {each.transport: each.drained for each in connections}
        for transport in debts.check([*drained], asyncio.get_running_loop().time(), shares, drained):
            log.warning(
                "event=client_ended unsent=%d the client takes too little of its answer", debts.owed[transport][0]
            )
            transport.abort()
