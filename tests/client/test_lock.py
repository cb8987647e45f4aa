"""Locks of both clients, against a real daemon."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.running import ROOT, eventually

from kvd import AsyncClient, Client, LockLost, LockNotAcquired, OutcomeUnknown
from kvd.client import async_lock, lock

HOLDER = """
import sys
from kvd import Client, LockLost

with Client(sys.argv[1]) as kv:
    try:
        with kv.lock("job", ttl=1.5) as held:
            print(held.fencing, flush=True)
            sys.stdin.readline()
            print(held.is_held, flush=True)
    except LockLost as error:
        print("lost", flush=True)
"""

COUNTER = """
import sys
from kvd import Client

with Client(sys.argv[1], decode="utf-8") as kv:
    for _ in range(15):
        with kv.lock("job", ttl=30) as held:
            count, last = (kv["count"], kv["fencing"])
            kv["fencing"] = held.fencing
            kv["count"] = int(count) + 1
            if int(last) >= held.fencing:
                kv.incr("fencing went back")
"""


def child(text, daemon):
    command = [sys.executable, "-c", text, daemon.commands]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def lock_threads():
    return [thread for thread in threading.enumerate() if thread.name == "kvd lock"]


@pytest.fixture
def frequent(monkeypatch):
    """Renew a hundred times as often, so that a test needs no long time to live."""
    for module in (lock, async_lock):
        monkeypatch.setattr(module, "RENEWALS_PER_TTL", 300)
        monkeypatch.setattr(module, "RETRIES_PER_TTL", 300)


def test_no_two_processes_hold_a_lock_at_once_and_fencing_numbers_grow(daemon, kv):
    kv.multiset({"count": 0, "fencing": 0})
    children = [child(COUNTER, daemon) for _ in range(4)]
    assert [each.wait(120) for each in children] == [0] * 4
    assert kv["count"] == b"60"
    assert "fencing went back" not in kv
    assert kv.get("job") is None


def test_threads_that_share_a_client_and_a_lock_take_turns(kv):
    shared = kv.lock("job", ttl=30)
    seen, inside = [], []

    def work():
        for _ in range(10):
            with shared if threading.get_ident() % 2 else kv.lock("job", ttl=30) as held:
                inside.append(1)
                seen.append((held.fencing, len(inside)))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 50
    assert seen == sorted(seen)
    assert {count for _, count in seen} == {1}
    eventually(lambda: not lock_threads())


def test_a_waiter_sends_nothing_until_the_lock_is_free(kv):
    sent = []

    class Recording(Client):
        def answer(self, command):
            sent.append(getattr(command, "write", command).command_name())
            return super().answer(command)

    def wait():
        with Recording(kv.endpoint) as other, other.lock("job", ttl=30) as held:
            sent.append(held.is_held)

    with kv.lock("job", ttl=30):
        waiter = threading.Thread(target=wait)
        waiter.start()
        eventually(lambda: sent[-1:] == ["CHANGES"])
        kv.set("job:2", "a neighbour")
        eventually(lambda: sent.count("CHANGES") == 2)
    waiter.join()
    assert sent == ["SET", "ENTRY", "CHANGES", "CHANGES", "SET", True]


def test_a_lock_that_is_held_is_not_acquired_within_a_timeout(kv):
    with kv.lock("job", ttl=30):
        for timeout in (0, 0.05):
            with (
                pytest.raises(LockNotAcquired, match="'job' is held by somebody else"),
                kv.lock("job", timeout=timeout),
            ):
                pytest.fail("two hold it")
    with kv.lock("job", timeout=0) as held:
        assert held.is_held


def test_arguments_are_checked_when_the_lock_is_made(kv):
    for options in ({"ttl": 0}, {"ttl": "x"}, {"timeout": -1}):
        with pytest.raises(ValueError, match=r"ttl|timeout"):
            kv.lock("job", **options)


def test_a_lock_outlives_its_time_to_live_by_renewals(kv, frequent):
    with kv.lock("job", ttl=30) as held:
        first = kv.entry("job").revision
        assert held.fencing == first
        eventually(lambda: kv.entry("job").revision > first + 2)
        assert held.fencing == first
        assert held.is_held
        held.check()
    assert kv.get("job") is None


def test_a_holder_that_stands_still_loses_the_lock_and_notices_it(daemon, kv):
    holder = child(HOLDER, daemon)
    first = int(holder.stdout.readline())
    holder.send_signal(signal.SIGSTOP)
    with kv.lock("job", ttl=30, timeout=60) as held:
        assert held.fencing > first
        holder.send_signal(signal.SIGCONT)
        assert holder.communicate("\n", timeout=60)[0].split() == ["False", "lost"]
        assert held.is_held
        assert kv.get("job") is not None


def test_a_holder_that_is_killed_loses_the_lock(daemon, kv):
    holder = child(HOLDER, daemon)
    first = int(holder.stdout.readline())
    holder.kill()
    holder.communicate()
    with kv.lock("job", ttl=30, timeout=60) as held:
        assert held.fencing > first


def test_a_lock_is_kept_across_a_restart_of_the_daemon(make_daemon, frequent):
    daemon = make_daemon().start()
    with daemon.client(timeout=30) as kv, kv.lock("job", ttl=60) as held:
        first = held.fencing
        daemon.kill()
        daemon.start()
        before = kv.entry("job").revision
        eventually(lambda: kv.entry("job").revision > before + 1)
        held.check()
        assert held.fencing == first
    assert not held.is_held


def test_a_lock_is_lost_when_the_daemon_is_away_for_longer_than_its_time_to_live(make_daemon):
    daemon = make_daemon().start()
    lost = []
    with daemon.client() as kv:
        with pytest.raises(LockLost, match="not renewed in time"), kv.lock("job", ttl=2, on_lost=lost.append) as held:
            held.check()
            daemon.kill()
            eventually(lambda: lost)
            assert not held.is_held
            with pytest.raises(LockLost):
                held.check()
        assert len(lost) == 1
        assert (
            str(lost[0])
            == "the lock 'job' is lost: it was not renewed in time: the daemon was away, or this process stood still"
        )
        daemon.start()
        with kv.lock("job", ttl=2, timeout=60):
            pass


@pytest.mark.parametrize("taken", [True, False])
def test_a_lock_that_somebody_cleared_is_lost_at_the_next_renewal(kv, frequent, taken):
    lost = []
    held = kv.lock("job", ttl=30, on_lost=lost.append)
    held.acquire()
    if taken:
        kv.set("job", "mine")
    else:
        kv.clear("job")
    eventually(lambda: lost)
    assert ("somebody else holds it" if taken else "somebody cleared it") in str(lost[0])
    with pytest.raises(LockLost):
        held.release()
    assert kv.get("job") == (b"mine" if taken else None)
    eventually(lambda: not lock_threads())


def test_a_release_does_not_take_the_lock_of_another(kv):
    held = kv.lock("job", ttl=30)
    held.acquire()
    kv.set("job", "another's")
    with pytest.raises(LockLost, match="somebody else"):
        held.release()
    assert kv.get("job") == b"another's"


def test_a_release_without_a_daemon_says_so(make_daemon):
    daemon = make_daemon().start()
    with daemon.client() as kv:
        held = kv.lock("job", ttl=3)
        held.acquire()
        daemon.kill()
        assert held.release() is False
        with pytest.raises(LockLost, match="not acquired"):
            held.release()


def test_an_error_in_the_block_releases_the_lock_and_is_not_hidden(kv):
    with pytest.raises(KeyError), kv.lock("job", ttl=30):
        raise KeyError
    assert kv.get("job") is None
    with pytest.raises(KeyError), kv.lock("job", ttl=30):
        kv.set("job", "another's")
        raise KeyError


def test_an_exception_from_a_signal_handler_releases_the_lock(kv):
    def interrupt(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(InterruptedError), kv.lock("job", ttl=30):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(10)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert kv.get("job") is None


def test_an_interrupt_while_acquiring_leaves_no_lock(kv):
    class Interrupted(Client):
        def answer(self, command):
            super().answer(command)
            raise KeyboardInterrupt

    with Interrupted(kv.endpoint) as other, pytest.raises(KeyboardInterrupt):
        other.lock("job", ttl=30).acquire()
    assert kv.get("job") is None
    assert lock_threads() == []


def test_an_interrupt_at_the_end_of_the_block_ends_the_renewals(kv, monkeypatch):
    """The traceback holds the lock, and an interpreter such as Jupyter's keeps it."""

    def interrupt(_):
        raise KeyboardInterrupt

    held = kv.lock("job", ttl=30)
    monkeypatch.setattr(lock.Lock, "_expect_owner", interrupt)
    with pytest.raises(KeyboardInterrupt), held:
        assert len(lock_threads()) == 1
    eventually(lambda: not lock_threads())


def test_an_interrupted_waiter_leaves_the_lock_to_the_thread_that_holds_it(kv):
    class Interrupted(Client):
        def answer(self, command):
            answer = super().answer(command)
            if command.command_name() == "ENTRY":
                raise KeyboardInterrupt
            return answer

    with Interrupted(kv.endpoint) as other:
        shared = other.lock("job", ttl=30)
        holder = threading.Thread(target=shared.acquire)
        holder.start()
        holder.join()
        with pytest.raises(KeyboardInterrupt):
            shared.acquire()
        assert len(lock_threads()) == 1
        assert shared.is_held
        shared.release()


def test_a_write_of_unknown_outcome_is_found_again(kv):
    class Unlucky(Client):
        calls = 0

        def answer(self, command):
            answer = super().answer(command)
            self.calls += 1
            if self.calls == 1:
                raise OutcomeUnknown("SET: the connection broke")
            return answer

    with Unlucky(kv.endpoint) as other, other.lock("job", ttl=30) as held:
        assert held.fencing == kv.entry("job").created
        held.check()
    assert kv.get("job") is None


def test_a_lock_that_is_dropped_is_not_renewed_for_ever(kv, frequent):
    held = kv.lock("job", ttl=30)
    held.acquire()
    assert len(lock_threads()) == 1
    del held
    gc.collect()
    eventually(lambda: not lock_threads())


def test_a_forked_child_does_not_hold_the_lock_and_does_not_release_it(kv):
    with kv.lock("job", ttl=30) as held:
        read, write = os.pipe()
        if os.fork() == 0:
            with held:
                os.write(write, b"two hold it")
            os._exit(0)
        os.close(write)
        assert held.is_held
        kv.ping()
    assert os.read(read, 100) == b"two hold it"  # after the end of the parent's block
    os.close(read)
    os.wait()


def test_a_child_that_leaves_its_parents_block_releases_nothing(kv):
    held = kv.lock("job", ttl=30)
    held.acquire()
    pid = os.fork()
    if pid == 0:
        held.__exit__(None, None, None)
        with pytest.raises(LockLost, match="forked"):
            held.check()
        os._exit(7 if held.is_held else 0)
    assert os.waitpid(pid, 0)[1] == 0
    assert kv.get("job") is not None
    assert held.release() is True


def run(daemon, body, **options):
    async def main():
        async with AsyncClient(daemon.commands, **options) as kv:
            await asyncio.wait_for(body(kv), 60)

    asyncio.run(main())


def test_tasks_take_turns(daemon):
    async def body(kv):
        inside, seen = [], []

        async def work():
            for _ in range(5):
                async with kv.lock("job", ttl=30) as held:
                    inside.append(1)
                    await kv.ping()
                    seen.append((held.fencing, len(inside)))
                    inside.pop()

        await asyncio.gather(*[work() for _ in range(6)])
        assert len(seen) == 30
        assert seen == sorted(seen)
        assert {count for _, count in seen} == {1}
        assert await kv.get("job") is None

    run(daemon, body)


def test_asyncio_renews_and_times_out(daemon, frequent):
    async def body(kv):
        async with kv.lock("job", ttl=30) as held:
            changes = []
            while len(changes) < 3:
                changes += await kv.changes(held.fencing + len(changes), "job", wait=20)
            held.check()
            with pytest.raises(LockNotAcquired):
                await kv.lock("job", timeout=0.05).acquire()
        assert await kv.get("job") is None

    run(daemon, body)


def test_asyncio_loses_a_lock_when_the_daemon_is_away(make_daemon):
    daemon = make_daemon().start()

    async def body(kv):
        lost = asyncio.get_running_loop().create_future()
        with pytest.raises(LockLost):
            async with kv.lock("job", ttl=2, on_lost=lost.set_result) as held:
                daemon.kill()
                assert isinstance(await lost, LockLost)
                assert not held.is_held

    run(daemon, body)


def test_asyncio_loses_a_lock_that_somebody_took(daemon, frequent):
    async def body(kv):
        lost = asyncio.get_running_loop().create_future()
        held = kv.lock("job", ttl=30, on_lost=lost.set_result)
        await held.acquire()
        await kv.set("job", "mine")
        assert "somebody else" in str(await lost)
        with pytest.raises(LockLost):
            await held.release()
        other = kv.lock("job2", ttl=30)
        await other.acquire()
        await kv.set("job2", "mine")
        with pytest.raises(LockLost, match="somebody else"):
            await other.release()
        assert await kv.get("job2") == b"mine"

    run(daemon, body)


def test_a_cancelled_holder_and_a_cancelled_waiter_leave_no_lock(daemon):
    async def body(kv):
        async def hold(entered):
            async with kv.lock("job", ttl=30):
                entered.set()
                await asyncio.sleep(60)

        entered, second = asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(hold(entered))
        await entered.wait()
        waiter = asyncio.create_task(hold(second))
        await asyncio.sleep(0.05)
        waiter.cancel()
        holder.cancel()
        await asyncio.gather(holder, waiter, return_exceptions=True)
        assert not second.is_set()
        for delay in range(6):  # at the sending, on the way, and after the answer
            task = asyncio.create_task(kv.lock("job", ttl=30).acquire())
            for _ in range(delay):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                async with kv.lock("job", ttl=30, timeout=20):
                    pass

    run(daemon, body)


def test_a_dropped_asyncio_lock_is_not_renewed_for_ever(daemon):
    async def body(kv):
        held = kv.lock("job", ttl=30)
        await held.acquire()
        [task] = [task for task in asyncio.all_tasks() if task.get_name() == "kvd lock"]
        del held
        gc.collect()
        await asyncio.wait([task])
        assert task.cancelled()

    run(daemon, body)
