"""Any number of pairs set in as many MULTISETs as it takes, several in flight, in the order of the pairs.

The fastest way in: 0.6 us a pair, where each SET of a pipeline costs 6. Memory holds a few portions of the pairs.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NamedTuple

from kvd.client.outcomes import Outcome
from kvd.client.refusals import Refusals
from kvd.client.stream import Stream, ok
from kvd.client.values import RAW, Codec, Pairs, key_bytes, pairs_of
from kvd.commands import Command
from kvd.commands.values import MultiSet
from kvd.errors import KvdError
from kvd.limits import MIB

PAIRS_MAX = 1_000
PORTION_BYTES_MAX = MIB  # and one pair on top
PORTIONS_IN_FLIGHT_MAX = 8
BYTES_IN_FLIGHT_MAX = 16 * MIB  # or one portion
# A daemon that cannot write as fast answers later. Then less is put in flight, so that no reply is waited for until the
# client's timeout: a write without a reply is one of which nobody knows whether it has run.
LATE_S = 0.5
SOON_S = 0.1


class Chunk(NamedTuple):
    """Pairs that go as one command, and their size."""

    command: MultiSet
    bytes: int


def chunks_of(pairs: Pairs, codec: Codec[Any, Any] = RAW) -> Iterator[Chunk]:
    """Yield the pairs in portions; no more is drawn before a portion is wanted."""
    portion: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in pairs_of(pairs):
        # Without calls for what is bytes already: they are a third of the whole.
        pair = (
            key if type(key) is bytes else key_bytes(key),
            value if codec is RAW and type(value) is bytes else codec.encode(value),
        )
        portion.append(pair)
        size += len(pair[0]) + len(pair[1])
        if len(portion) >= PAIRS_MAX or size >= PORTION_BYTES_MAX:
            yield Chunk(MultiSet(portion), size)
            portion, size = [], 0
    if portion:
        yield Chunk(MultiSet(portion), size)


class BulkLoad:
    """What is under way, in the order given. Pure. `patience_s`: for how long BUSY is waited out."""

    def __init__(self, patience_s: float) -> None:
        self.count = 0  # pairs that are set
        self.sent: deque[Chunk] = deque()
        self.sent_at: deque[float] = deque()
        self.most = PORTIONS_IN_FLIGHT_MAX  # at once
        self.bytes = 0
        self.error: KvdError | None = None
        self.refusals: Refusals[Chunk] = Refusals(patience_s)

    def has_capacity(self, portion: Chunk) -> bool:
        """Return whether a portion may be sent."""
        if self.refusals.waiting:
            return False
        is_full = len(self.sent) >= self.most or self.bytes + portion.bytes > BYTES_IN_FLIGHT_MAX
        return not (self.sent and is_full)

    def send(self, portion: Chunk, now: float) -> None:
        """A portion is sent. Times are seconds of any clock."""
        self.sent.append(portion)
        self.sent_at.append(now)
        self.bytes += portion.bytes

    @property
    def is_under_way(self) -> bool:
        """Return whether the outcome of a portion is still to come."""
        return bool(self.sent or self.refusals.waiting)

    def again(self) -> Chunk | None:
        """Return the portion to send again now, after `refusals.pause_s`."""
        return self.refusals.waiting[0] if self.refusals.waiting and not self.sent else None

    def on_outcome(self, outcome: Outcome, now: float) -> None:
        """The outcome of the first that is under way came; the first error is kept."""
        portion = self.sent.popleft()
        self.bytes -= portion.bytes
        self._adapt(now - self.sent_at.popleft())
        if self.error is None and self.refusals.keeps(portion, outcome, now):
            return
        try:
            ok(outcome)
        except KvdError as error:
            self.error = self.error or error
        else:
            self.count += len(portion.command.pairs)

    def _adapt(self, seconds: float) -> None:
        """Put less in flight after a late reply, and more after those that come soon."""
        if seconds > LATE_S:
            self.most = max(1, self.most // 2)
        elif seconds < SOON_S:
            self.most = min(PORTIONS_IN_FLIGHT_MAX, self.most + 1)

    def result(self) -> int:
        """Return how many pairs are set; raise the first error."""
        if self.error is not None:
            raise self.error
        return self.count


def load(stream: Stream, pairs: Pairs, codec: Codec[Any, Any] = RAW) -> int:
    """Set pairs over a stream that nothing else is sent over; return how many."""
    loading = BulkLoad(stream.timeout)

    def send(portion: Chunk) -> None:
        stream.send(portion.command)
        loading.send(portion, monotonic())

    def take() -> None:
        for _, outcome in stream.receive():
            loading.on_outcome(outcome, monotonic())
        if portion := loading.again():
            time.sleep(loading.refusals.pause_s)
            send(portion)

    for portion in chunks_of(pairs, codec):
        while not loading.has_capacity(portion):
            take()
        if loading.error is not None:
            break
        send(portion)
    while loading.is_under_way:
        take()
    return loading.result()


async def load_async(
    give: Callable[[Command, Any], None], pairs: Pairs, codec: Codec[Any, Any] = RAW, *, patience_s: float
) -> int:
    """Set pairs by what takes a command and the future of its outcome; return how many."""
    loading = BulkLoad(patience_s)
    futures: deque[asyncio.Future[Outcome]] = deque()

    def send(portion: Chunk) -> None:
        futures.append(asyncio.get_running_loop().create_future())
        give(portion.command, futures[-1])
        loading.send(portion, monotonic())

    async def take() -> None:
        loading.on_outcome(await futures.popleft(), monotonic())
        if portion := loading.again():
            await asyncio.sleep(loading.refusals.pause_s)
            send(portion)

    for portion in chunks_of(pairs, codec):
        while not loading.has_capacity(portion):
            await take()
        if loading.error is not None:
            break
        send(portion)
    while loading.is_under_way:
        await take()
    return loading.result()
