"""A task is cancelled at each of its awaits in turn: nothing runs twice or hangs, and the client keeps working."""

import asyncio
import types

import pytest
from support.descriptors import Descriptors

from kvd.client import AsyncClient

AWAITS_MAX = 200


@pytest.fixture
def daemon(empty_daemon):
    return empty_daemon


async def cancel_at(awaitable, at):
    """Await something, and cancel this task the n-th time that it waits; return whether that was before the end."""
    return await steps_until_cancelled(awaitable, at)


@types.coroutine
def steps_until_cancelled(awaitable, at):
    steps = awaitable.__await__()
    reply = error = None
    for number in range(1, AWAITS_MAX):
        try:
            waits_for = steps.throw(error) if error is not None else steps.send(reply)
        except StopIteration:
            return False
        except asyncio.CancelledError:
            assert number > at
            return True
        if number == at:
            asyncio.current_task().cancel()
        reply = error = None
        try:
            reply = yield waits_for
        except BaseException as caught:  # noqa: BLE001  # handed on as it is
            error = caught
    raise AssertionError("it waits again and again")


async def get(kv, key):
    await kv.get(key)


async def incr(kv, key):
    await kv.incr(key)


async def once(kv, key):
    await kv.once().incr(key)


async def pipeline(kv, key):
    async with kv.pipeline() as gathered:
        for _ in range(5):
            gathered.incr(key)


async def transaction(kv, key):
    async with kv.transaction({key: 0}) as gathered:
        gathered.incr(key)
        gathered.incr(key)


async def load(kv, key):
    await kv.load([(key, 5)] * 20_000)


async def walk(kv, key):
    await kv.incr(key)
    assert key.encode() in [found async for found in kv.scan("n:")]


async def take_first(kv, key):
    await kv.set(f"job:{key}", "1")
    assert await kv.take_first(f"job:{key}", wait=5)


async def watch(kv, key):
    async for change in kv.watch(key, since=0):
        assert change.key == key.encode()
        break


async def watch_in_block(kv, key):
    async with kv.watch(key, snapshot=True) as changes:
        await changes.ready()
        await changes.take()


async def lock(kv, key):
    async with kv.lock(f"lock:{key}", ttl=30) as held:
        await kv.incr(key)
        held.check()


async def mirror(kv, key):
    async with kv.mirror(key) as entries:
        assert len(entries) == 1


# The amounts that a call may add to its counter.
CASES = {
    get: 0,
    incr: 1,
    once: 1,
    pipeline: 5,
    transaction: 2,
    load: 5,
    walk: 1,
    take_first: 0,
    watch: 0,
    watch_in_block: 0,
    lock: 1,
    mirror: 0,
}
FOLLOWERS = (watch, watch_in_block, mirror)


async def cancel_everywhere(daemon, case):
    """Cancel a call at each of its awaits; return at how many that was."""
    async with AsyncClient(daemon.commands) as kv:
        await kv.ping()
        since = Descriptors()
        for at in range(1, AWAITS_MAX):
            key = f"n:{case.__name__}:{at}"
            earlier = 1 if case in FOLLOWERS else 0
            if earlier:
                await kv.incr(key)
            task = asyncio.create_task(cancel_at(case(kv, key), at))
            was_cancelled = await asyncio.wait_for(task, 30)
            assert int(await kv.get(key) or 0) - earlier in range(CASES[case] + 1)
            await until(lambda key=key: is_free(kv, f"lock:{key}"))
            if not was_cancelled:
                break
        await until(lambda: is_closed(since))
    return at - 1


async def is_free(kv, key):
    return await kv.get(key) is None


async def is_closed(since):
    return since.are_closed()


async def until(holds):
    for _ in range(3000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to hold")


@pytest.mark.parametrize("case", CASES)
def test_a_task_that_is_cancelled_at_each_await_leaves_a_client_that_works(daemon, case):
    count = asyncio.run(cancel_everywhere(daemon, case))
    assert count >= 1
    print(f"{case.__name__}: cancelled at {count} awaits")


@pytest.mark.parametrize("case", [get, incr])
def test_a_task_that_is_cancelled_while_the_client_connects(daemon, case):
    async def connect():
        async with AsyncClient(daemon.commands) as kv:
            assert await asyncio.create_task(cancel_at(case(kv, "n:connect"), 1))
            assert int(await kv.get("n:connect") or 0) in (0, 1)

    asyncio.run(connect())
