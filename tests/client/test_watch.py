"""A blocking watch ends when it is stopped, from wherever, and an interrupt makes it lose nothing."""

import asyncio
import gc
import inspect
import random
import shutil
import signal
import threading
import time
from itertools import pairwise

import pytest
from support.descriptors import Descriptors, few_descriptors
from support.interrupts import Interrupt, interrupt
from support.running import eventually

from kvd import AsyncClient, Client, HistoryChanged
from kvd.client import Stream
from kvd.client.readiness import wait_until_ready
from kvd.client.watch import Watch

TAKE_LINES, TAKE_START = inspect.getsourcelines(Watch.take)
# Here the call is over, and what it returns is lost with it. Python runs no signal handler before this line.
RETURN_OF_TAKE = f"watch.py:{TAKE_START + len(TAKE_LINES) - 1} take"


@pytest.fixture(params=["idle", "changes"])
def busy_kv(request, daemon):
    """Return a client while nothing is written, or while much is."""
    has_begun, is_over = threading.Event(), threading.Event()

    def write():
        with daemon.client() as writer:
            while not is_over.is_set():
                writer.incr("a")
                has_begun.set()

    thread = threading.Thread(target=write)
    if request.param == "changes":
        thread.start()
        assert has_begun.wait(60), "its descriptors are none of the test's"
    with daemon.client() as kv:
        yield kv
    is_over.set()
    if thread.is_alive():
        thread.join()


def follow(watch, seen):
    for change in watch:
        seen.append(change.revision)


@pytest.mark.parametrize("method", ["stop", "close"])
def test_a_watch_is_ended_by_another_thread(busy_kv, method):
    """No error, no crash, no descriptor left, and no change lost before the end."""
    busy_kv.ping()
    since = Descriptors()
    for turn in range(6):
        watch, seen = busy_kv.watch("a"), []
        thread = threading.Thread(target=follow, args=(watch, seen))
        thread.start()
        time.sleep(0.004 * turn)
        getattr(watch, method)()
        thread.join(20)
        assert not thread.is_alive()
        assert all(later == earlier + 1 for earlier, later in pairwise(seen))
        assert watch.take() == []
        watch.close()
    eventually(since.are_closed)


@pytest.mark.parametrize("method", ["stop", "close"])
def test_a_watch_is_ended_by_a_signal_handler(busy_kv, method):
    since = None
    for turn in range(4):
        watch = busy_kv.watch("a")
        previous = signal.signal(signal.SIGALRM, lambda *_, watch=watch: getattr(watch, method)())
        signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.006 * turn)
        try:
            follow(watch, [])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        watch.close()
        del watch
        since = since or Descriptors()
    eventually(since.are_closed)


@pytest.mark.parametrize("method", ["stop", "close"])
def test_a_watch_is_ended_while_there_is_no_daemon(make_daemon, method):
    daemon = make_daemon().start()
    with daemon.client() as kv:
        kv.incr("a")
        watch = kv.watch("a", since=0)
        assert next(watch).revision == 1
        daemon.kill()
        thread = threading.Thread(target=follow, args=(watch, []))
        thread.start()
        time.sleep(0.2)
        getattr(watch, method)()
        thread.join(20)
        assert not thread.is_alive()
        watch.close()


def test_a_watch_that_was_stopped_first_ends_at_once(kv):
    watch = kv.watch("a")
    watch.stop()
    assert list(watch) == []
    assert watch.ready() == 0
    watch.close()
    watch.close()


def test_a_callback_may_close_its_watch(make_daemon):
    daemon = make_daemon().start()
    with daemon.client() as kv:
        kv.incr("a")
        watch = kv.watch("a", since=0, on_state=lambda _: watch.close())
        assert next(watch).revision == 1
        daemon.kill()
        assert list(watch) == []


def test_a_dropped_watch_warns_and_leaves_no_descriptor(kv):
    kv.incr("a")
    since = Descriptors()
    watch = kv.watch("a", since=0)
    next(watch)
    assert len(since.list_new()) == 4  # two connections, and a bell of two ends
    with pytest.warns(ResourceWarning, match="unclosed kvd watch"):  # noqa: PT031  # dropped, then collected
        del watch
        gc.collect()
    eventually(since.are_closed)


def test_without_descriptors_a_watch_raises_oserror_at_once(daemon):
    with Client(daemon.commands, timeout=1000) as kv, kv.watch("a") as watch:
        with few_descriptors(), pytest.raises(OSError, match="Too many open files"):
            next(watch)
        kv.incr("a")


@pytest.mark.parametrize("step", [797, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_take_loses_nothing(kv, step):
    """Interrupted at each n-th bytecode, from the first call on; what was taken until then comes no second time."""
    since = None
    at, where = random.randint(1, step), ""
    kv.set("a", "0")
    while where is not None:
        revision = kv.entry("a").revision
        watch = kv.watch("a", since=revision)
        kv.set("a", str(at))
        seen = []

        def take(watch=watch, seen=seen):
            while not seen:
                seen += [change.revision for change in watch.take()]

        where = interrupt(take, at, Interrupt())
        if not seen and where != RETURN_OF_TAKE:
            seen += [change.revision for change in watch.take(30)]
        assert seen == [revision + 1] or where == RETURN_OF_TAKE, where
        kv.set("a", "again")
        assert next(watch).revision == revision + 2, where
        watch.close()
        since = since or Descriptors()
        at += step
    eventually(since.are_closed)


def test_a_reply_that_comes_at_the_end_of_a_step_is_processed_at_once(kv, monkeypatch):
    """It was read from its connection, so nothing there wakes the watch: it waited for the next PING, up to 1 s."""
    advance = Stream.advance

    def advance_until_all_is_answered(stream):
        advance(stream)
        while stream.is_reply_awaited:
            wait_until_ready(stream.interests(), 1)
            advance(stream)

    monkeypatch.setattr(Stream, "advance", advance_until_all_is_answered)
    kv.set("a", "1")
    late = 0
    with kv.watch("a", since=0) as watch:
        subscription = watch._subscription
        while not subscription.step():
            if subscription.stream.pending.has_outcome:
                late += 1
                assert subscription.due() <= time.monotonic()
            else:
                watch._wait(None)
    assert late > 0


def writes(kv, first, last):
    for number in range(first, last + 1):
        kv.set("a", number)


@pytest.fixture
def replacement(make_daemon):
    """Let two clients see revision 5, put a store of another history in its place; return them and the position."""
    daemon = make_daemon().start()
    seer, other = daemon.client(timeout=30), daemon.client(timeout=30)
    writes(seer, 1, 5)
    with seer.watch(since=0) as watch:
        revision = 0
        while revision < 5:
            revision = watch.take()[-1].revision
        position = watch.position
    daemon.stop()
    shutil.rmtree(daemon.data)
    daemon.start()
    writes(other, 1, 7)
    with seer, other:
        yield seer, other, position


def test_a_watch_that_resumes_in_another_history_says_so(replacement):
    """Without it the changes up to 5 of the new history would never come."""
    seer, other, position = replacement
    assert position.revision == 5
    for watch in (
        lambda: seer.watch(since=5),  # the client remembers
        lambda: other.watch(since=position),
        lambda: other.watch(since=5, history=position.history),
        lambda: other.watch(history=position.history),
    ):
        with watch() as changes, pytest.raises(HistoryChanged, match=f"not {position.history}: it was restored"):
            next(changes)
    with other.watch(since=0) as changes:
        assert next(changes).revision == 1
        assert changes.position.history != position.history


def test_an_asyncio_watch_that_resumes_in_another_history_says_so(replacement):
    seer, _, position = replacement

    async def resume():
        async with AsyncClient(seer.endpoint) as kv:
            for options in ({"since": position}, {"since": 5, "history": position.history}):
                with pytest.raises(HistoryChanged):
                    async for _ in kv.watch(**options):
                        pass
            async with kv.watch(since=0) as changes:
                assert (await changes.take())[0].revision == 1

    asyncio.run(resume())
