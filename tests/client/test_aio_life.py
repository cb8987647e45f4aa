"""The asyncio client among loops, cancellations and shortages: nothing is left behind and nobody waits for ever."""

import asyncio
import contextlib
import gc
import os
import socket
import threading
from pathlib import Path

import pytest
import uvloop
import zmq
from support.descriptors import Descriptors, few_descriptors
from support.peers import (
    GREETING,
    FakeDaemon,
    Peer,
    dead_endpoint,
    frames,
    message,
    messages,
    read_exactly,
    shake_hands,
)
from support.running import eventually

from kvd.client.aio import AsyncClient
from kvd.client.keys import Keys
from kvd.errors import KvdError, NoReply, NotLetIn, OutcomeUnknown, TooLarge, Unreachable


@pytest.fixture
def fake():
    with FakeDaemon() as daemon:
        yield daemon


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request):
    return asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop


def run(body, new_loop=asyncio.new_event_loop):
    """Run a coroutine in a loop of its own."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(body)


def test_one_loop_after_another(fake, new_loop):
    run(asyncio.sleep(0), new_loop)
    kv = AsyncClient(fake.endpoint)
    since = Descriptors()
    for number in (1, 2, 3):
        assert run(kv.incr("n"), new_loop) == number
    run(kv.close(), new_loop)
    eventually(since.are_closed)


def test_two_loops_at_once_are_refused(fake, new_loop):
    async def both():
        async with AsyncClient(fake.endpoint) as kv:
            assert await kv.incr("n") == 1
            with pytest.raises(RuntimeError, match="another event loop that is still open"):
                await asyncio.to_thread(lambda: run(kv.incr("n")))
            assert await kv.incr("n") == 2

    run(both(), new_loop)


def test_calls_that_are_cancelled_leave_the_others_alone(fake):
    async def storm():
        async with AsyncClient(fake.endpoint) as kv:
            tasks = [asyncio.create_task(kv.get("a")) for _ in range(300)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert found[1::2] == [None] * 150
            assert await kv.incr("n") == 1

    run(storm())
    assert fake.accepted == 1


def test_what_is_too_large_is_not_sent_and_disturbs_nobody(fake):
    async def many():
        async with AsyncClient(fake.endpoint) as kv:
            tasks = [asyncio.create_task(kv.incr("n")) for _ in range(50)]
            with pytest.raises(TooLarge):
                await kv.set("b", "x" * 40 * 2**20)
            with pytest.raises(TooLarge):
                await kv.once().set("b", "x" * 40 * 2**20)
            assert sorted(await asyncio.gather(*tasks)) == list(range(1, 51))

    run(many())


def test_without_descriptors_it_is_oserror_at_once(fake):
    async def ask():
        async with AsyncClient(fake.endpoint, timeout=1000) as kv:
            with few_descriptors(), pytest.raises(OSError, match="Too many open files"):
                await kv.get("a")
            assert await kv.get("a") is None

    run(ask())


def test_a_dropped_client_warns_and_leaves_no_descriptor(fake):
    async def drop():
        kv = AsyncClient(fake.endpoint)
        await kv.get("a")
        with pytest.warns(ResourceWarning, match="unclosed AsyncClient"):  # noqa: PT031  # dropped, then collected
            del kv
            gc.collect()

    since = Descriptors()
    run(drop())
    eventually(since.are_closed)


def test_a_name_that_is_looked_up_is_dialled_as_soon_as_it_is_found(fake, monkeypatch):
    monkeypatch.setattr("kvd.client.stream.RECONNECT_MS_MAX", 10**9)
    port = int(fake.endpoint.rpartition(":")[2])
    found = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)
    monkeypatch.setattr("kvd.client.endpoints.socket.getaddrinfo", lambda *_, **__: [found])

    async def ask():
        async with AsyncClient(f"tcp://a.name:{port}", timeout=20) as kv:
            assert await kv.incr("n") == 1

    run(ask())


def test_a_name_that_does_not_resolve_is_told_with_the_reason():
    async def ask():
        async with AsyncClient("tcp://nowhere.invalid:7411", timeout=2) as kv:
            with pytest.raises(Unreachable, match=r"nowhere\.invalid:7411 \(.*([Nn]ame|resol)"):
                await kv.get("a")

    run(ask())


def test_a_closed_client_says_so(fake):
    async def close():
        kv = AsyncClient(fake.endpoint)
        await kv.get("a")
        await kv.close()
        with pytest.raises(KvdError, match="the client is closed"):
            await kv.get("a")

    run(close())


def selector_descriptors():
    """Return the descriptors that the running loop's selector listens to."""
    selector = asyncio.get_running_loop()._selector
    lines = Path(f"/proc/self/fdinfo/{selector.fileno()}").read_text().splitlines()
    return sorted(line.split()[1] for line in lines if line.startswith("tfd:"))


def test_a_client_that_was_not_used_before_a_fork_works_on_both_sides(fake):
    kv = AsyncClient(fake.endpoint)

    async def count():
        async with kv:
            await kv.incr("n")

    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(count())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    run(count())
    assert fake.value(b"n") == b"2"


def test_a_forked_child_is_refused_and_the_parent_goes_on(fake):
    async def fork():
        async with AsyncClient(fake.endpoint) as kv:
            assert await kv.incr("n") == 1
            listened = selector_descriptors()
            pid = os.fork()
            if pid == 0:
                try:
                    await kv.incr("n")
                except RuntimeError:
                    await kv.close()  # which must not take the parent's descriptors from the parent's selector
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0  # noqa: ASYNC222  # the child ends at once
            assert selector_descriptors() == listened
            assert await kv.incr("n") == 2

    run(fork())


def strange(body):
    def script(sock):
        shake_hands(sock)
        for parts in messages(sock):
            sock.sendall(message(*parts[:-1], body))

    return script


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_a_reply_that_is_none_ends_the_call(body):
    async def ask():
        async with AsyncClient(peer.endpoint, timeout=5) as kv:
            with pytest.raises(NoReply, match="not one of kvd's"):
                await kv.get("a")
            with pytest.raises(OutcomeUnknown, match="not one of kvd's"):
                await kv.incr("a")

    with Peer(strange(body)) as peer:
        run(ask())


def test_garbage_and_silence_end_by_the_deadline():
    async def ask(endpoint):
        async with AsyncClient(endpoint, timeout=0.3) as kv:
            with pytest.raises(Unreachable) as caught:
                await kv.incr("a")
            assert endpoint in str(caught.value)

    def greet_http(sock):
        sock.sendall(b"HTTP/1.1 400\r\n\r\n")

    def listen(sock):
        while sock.recv(4096):
            pass

    for script in (greet_http, listen):
        with Peer(script) as peer:
            run(ask(peer.endpoint))
    run(ask(dead_endpoint()))


async def watch_until(kv, how):
    """Watch, and stop as said once a change came."""
    async for change in kv.watch("a"):
        if how == "break":
            break
        if how == "raise":
            raise ZeroDivisionError(change)


@pytest.mark.parametrize("count", [9, pytest.param(200, marks=pytest.mark.long)])
def test_watchers_come_and_go_and_leave_nothing(daemon, count, new_loop):
    async def come_and_go():
        async with AsyncClient(daemon.commands) as kv:
            await kv.set("a", "0")
            since = Descriptors()
            tasks = [
                asyncio.create_task(watch_until(kv, ("break", "raise", "cancel")[number % 3]))
                for number in range(count)
            ]
            await until(lambda: len(since.list_new()) >= 2 * count)
            for turn in range(3):
                await asyncio.sleep(0.05)
                await kv.set("a", f"{turn}")
            await asyncio.wait([task for number, task in enumerate(tasks) if number % 3 < 2])
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            kinds = [None, ZeroDivisionError, asyncio.CancelledError]
            assert [None if each is None else type(each) for each in found] == [kinds[n % 3] for n in range(count)]
            del found, tasks
            await until(since.are_closed)

    run(come_and_go(), new_loop)


async def until(holds):
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to hold")


def test_a_watch_is_stopped_from_another_thread(daemon):
    async def watch():
        async with AsyncClient(daemon.commands) as kv:
            watch = kv.watch("a")
            threading.Timer(0.1, watch.stop).start()
            return [change async for change in watch]

    assert run(watch()) == []


def test_a_dropped_watch_leaves_no_descriptor(daemon):
    async def drop():
        async with AsyncClient(daemon.commands) as kv:
            await kv.set("a", "1")
            since = Descriptors()
            watch = kv.watch("a", since=0)
            assert len(await watch.take()) == 1
            with pytest.warns(ResourceWarning, match="unclosed kvd watch"):  # noqa: PT031  # dropped, then collected
                del watch
                gc.collect()
            await until(since.are_closed)

    run(drop())


def test_a_handshake_that_an_ending_daemon_broke_off_does_not_explain_later_failures():
    def break_off(sock):
        sock.sendall(GREETING.replace(b"NULL\0", b"CURVE"))
        read_exactly(sock, len(GREETING))
        next(frames(sock))

    keys = Keys(*zmq.curve_keypair(), zmq.curve_keypair()[0])

    async def fail_until(kv, is_reached):
        while True:
            with pytest.raises(Unreachable) as failed:
                await kv.get("a")
            if is_reached(failed.value):
                return

    async def main(endpoint, end):
        async with AsyncClient(endpoint, keys=keys, connect_timeout=0.2) as kv, asyncio.timeout(60):
            await fail_until(kv, lambda error: "the daemon may have another key" in str(error))
            await asyncio.to_thread(end)
            await fail_until(kv, lambda error: not isinstance(error, NotLetIn))

    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(Peer(break_off))
        run(main(peer.endpoint, stack.close))
