"""The asyncio client, against a real daemon."""

import asyncio
import signal

import pytest

from kvd import AsyncClient
from kvd.commands.values import Get, Incr
from kvd.errors import Compacted, Conflict, NoReply, OutcomeUnknown, Unreachable, WrongType
from kvd.limits import CHANGES_LIMIT_DEFAULT, WATCHED_MAX


def run(daemon, body, **options):
    """Run a coroutine function with a client."""

    async def main():
        async with AsyncClient(daemon.commands, **options) as kv:
            await asyncio.wait_for(body(kv), 60)

    asyncio.run(main())


def test_methods_are_awaited(daemon):
    async def body(kv):
        await kv.set("a", "1")
        assert await kv.get("a") == b"1"
        assert await kv.incr("a") == 2
        assert await kv.run(Get(b"a")) == b"2"
        with pytest.raises(Conflict):
            await kv.set("a", "2", nx=True)

    run(daemon, body)


def test_a_thousand_at_once(daemon):
    async def body(kv):
        sums = await asyncio.gather(*[kv.incr("n") for _ in range(1000)])
        assert sums == list(range(1, 1001))

    run(daemon, body)


def test_pipeline_transaction_and_once(daemon):
    async def body(kv):
        async with kv.pipeline() as pipeline:
            for number in range(2500):
                pipeline.set(f"k{number:04}", str(number))
            pipeline.run(Get(b"k0007"))
        assert pipeline.results == [None] * 2500 + [b"7"]
        with pytest.raises(WrongType):
            async with kv.pipeline() as pipeline:
                pipeline.set("text", "x")
                pipeline.incr("text")
        async with kv.transaction({"t": 0}) as transaction:
            transaction.set("t", "1")
            transaction.incr("t")
        assert transaction.results == [None, 2]
        assert await kv.once(b"my token").incr("t") == 3
        assert await kv.once(b"my token").incr("t") == 3
        assert await kv.once().run(Incr(b"t")) == 4
        assert await kv.once().get("t") == b"4"
        assert [key async for key in kv.scan("k000")] == [b"k000%d" % n for n in range(10)]
        assert [item async for item in kv.items("k0001")] == [(b"k0001", b"1")]

    run(daemon, body)


def test_gatherers_left_by_an_error_send_nothing(daemon):
    async def body(kv):
        for gatherer in (kv.pipeline(), kv.transaction()):
            with pytest.raises(RuntimeError):
                async with gatherer as gathered:
                    gathered.set("a", "1")
                    raise RuntimeError
        assert await kv.count() == 0

    run(daemon, body)


def test_a_cancelled_call_does_not_confuse_the_next(daemon):
    async def body(kv):
        for _ in range(50):
            task = asyncio.ensure_future(kv.ping("late"))
            await asyncio.sleep(0)
            task.cancel()
            assert await kv.ping("x") == b"x"

    run(daemon, body)


def test_watch_follows_across_a_restart(make_daemon):
    daemon = make_daemon().start()

    async def body(kv):
        states = []
        async with kv.watch("user:", on_state=states.append) as watch:
            await watch.ready()
            await kv.set("user:1", "a")
            assert (await watch.__anext__()).key == b"user:1"
            daemon.kill()
            daemon.start()
            await kv.set("user:2", "b")
            assert (await anext(aiter(watch))).key == b"user:2"
            await kv.set("user:3", "b")
            assert [change.key for change in await watch.take()] == [b"user:3"]
            assert states == ["disconnected", "reconnected"]
            assert watch.revision == 3

    run(daemon, body)


def test_a_watch_goes_on_from_its_revision_with_what_was_not_handed_out_yet(daemon):
    async def body(kv):
        await kv.multiset({f"user:{number}": "x" for number in range(5)})
        async with kv.watch(since=0) as watch:
            assert [(await anext(aiter(watch))).revision, watch.revision] == [1, 1]
            assert [change.revision for change in await watch.take()] == [2, 3, 4, 5]
            assert watch.revision == 5

    run(daemon, body)


def test_a_watch_that_nobody_takes_from_holds_no_more_than_it_may(daemon):
    async def body(kv):
        await kv.set("a", "1")
        async with kv.watch(since=0) as watch:
            assert await watch.wait_for_start() == 0
            for _ in range(40):
                async with kv.pipeline() as pipeline:
                    for number in range(1_000):
                        pipeline.set("k", str(number))
            held = len(watch.changes)
            assert held < WATCHED_MAX + 2 * CHANGES_LIMIT_DEFAULT
            seen = []
            while len(seen) < 40_001:
                seen += [change.revision for change in await watch.take()]
            assert seen == list(range(1, 40_002))
            assert held >= WATCHED_MAX

    run(daemon, body)


def test_watch_raises_what_it_cannot_mend(daemon):
    async def body(kv):
        for _ in range(5):
            await kv.incr("n")
        await kv.compact(3)
        async with kv.watch(since=1) as watch:
            with pytest.raises(Compacted):
                await watch.ready()
            with pytest.raises(Compacted):
                await watch.take()

    run(daemon, body)


def test_no_daemon_and_a_stopped_daemon(make_daemon):
    daemon = make_daemon()

    async def nobody(kv):
        with pytest.raises(Unreachable):
            await kv.get("a")

    run(daemon, nobody, timeout=0.2)
    daemon.start()

    async def stop_and_resume(kv):
        await kv.ping()
        daemon.signal(signal.SIGSTOP)
        with pytest.raises(OutcomeUnknown):
            await kv.set("a", "1")
        with pytest.raises(NoReply):
            await kv.get("a")
        daemon.signal(signal.SIGCONT)
        assert await kv.get("a") == b"1"

    run(daemon, stop_and_resume, timeout=0.4)


def test_closing_cancels_those_who_wait(daemon):
    async def body(_):
        kv = AsyncClient(daemon.commands)
        task = asyncio.ensure_future(kv.changes(0, wait=30))
        await asyncio.sleep(0.05)
        await kv.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(daemon, body)


def test_one_that_waits_does_not_hold_back_the_others(daemon):
    async def body(kv):
        waiting = asyncio.ensure_future(kv.changes(0, "a", wait=30))
        await asyncio.sleep(0.05)
        assert await kv.ping("x") == b"x"
        await kv.set("a", "1")
        assert [change.key for change in await waiting] == [b"a"]

    run(daemon, body)
