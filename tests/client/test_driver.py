"""The driver of asyncio: when one has worked for long, others are served before the next works, each in its turn."""

import asyncio
import gc
import time

import pytest

from kvd.client.driver import LONG_WORK_S, SocketDriver


class Worker:
    """A driven object: it works for a time, notes that, and asks for another turn."""

    def __init__(self, name, log, work_s, times=1):
        self.name, self.log, self.work_s, self.times = name, log, work_s, times
        self.done = asyncio.Event()
        self.driver = SocketDriver(self)
        self.driver.wake()

    def pump(self):
        self.log.append(self.name)
        time.sleep(self.work_s)
        self.times -= 1
        if self.times:
            self.driver.wake()
        else:
            self.done.set()

    def channels(self):
        return []

    def due(self):
        return None


async def serve(log):
    """Be a request, which needs several turns of the loop."""
    for _ in range(3):
        log.append("request")
        await asyncio.sleep(0)


@pytest.mark.parametrize(("long_s", "is_long"), [(60, False), (LONG_WORK_S, True)])
def test_after_long_work_others_are_served_before_the_next_driver(long_s, is_long, monkeypatch):
    monkeypatch.setattr("kvd.client.driver.LONG_WORK_S", long_s)
    work_s = 2 * LONG_WORK_S if is_long else 0.0
    log = []

    async def main():
        first, second = Worker("a", log, work_s), Worker("b", log, work_s)
        async with asyncio.timeout(60):
            await asyncio.gather(serve(log), first.done.wait(), second.done.wait())

    asyncio.run(main())
    short = ["a", "b", "request", "request", "request"]
    assert log == (["a", "request", "request", "request", "b"] if is_long else short)


def test_drivers_that_work_for_long_take_turns():
    log = []

    async def main():
        workers = [Worker(name, log, 2 * LONG_WORK_S, 3) for name in "abc"]
        async with asyncio.timeout(60):
            await asyncio.gather(*[each.done.wait() for each in workers])

    asyncio.run(main())
    assert "".join(log) == "abc" * 3


def test_one_that_is_alone_does_not_wait():
    log = []

    async def main():
        worker = Worker("a", log, 2 * LONG_WORK_S)
        worker.driver.turn()
        worker.driver.turn()

    asyncio.run(main())
    assert log == ["a", "a"]


@pytest.mark.parametrize("end", [lambda worker: worker.driver.stop(), lambda worker: None])
def test_one_that_is_gone_holds_up_nobody(end):
    log = []

    async def main():
        first, gone, last = (Worker(name, log, 2 * LONG_WORK_S) for name in "abc")
        await first.done.wait()
        await asyncio.sleep(0)
        end(gone)
        del gone
        gc.collect()
        async with asyncio.timeout(60):
            await last.done.wait()

    asyncio.run(main())
    assert log == ["a", "c"]
