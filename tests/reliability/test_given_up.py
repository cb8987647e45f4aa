"""A command given up while the daemon was down does not run when it is back, with every client (R12)."""

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from kvd.client import AsyncClient, Client
from kvd.errors import ClientError, Unreachable

KVSH = [sys.executable, "-m", "kvsh"]


def gives_up_sync(endpoint):
    kv = Client(endpoint, timeout=0.3)
    for write in (lambda: kv.set("ghost", "1"), lambda: kv.once().incr("ghost")):
        with pytest.raises(Unreachable):
            write()
    return kv.close


def gives_up_async(endpoint):
    loop = asyncio.new_event_loop()
    kv = loop.run_until_complete(make_async_client(endpoint))
    with pytest.raises(Unreachable):
        loop.run_until_complete(kv.set("ghost", "1"))

    def close():
        loop.run_until_complete(asyncio.sleep(0.5))  # the socket is served while the daemon is there again
        loop.run_until_complete(kv.close())
        loop.close()

    return close


async def make_async_client(endpoint):
    return AsyncClient(endpoint, timeout=0.3)


def gives_up_pipeline(endpoint):
    kv = Client(endpoint, timeout=0.3)
    pipeline = kv.pipeline()
    for number in range(100):
        pipeline.set(f"ghost:{number}", "1")
    with pytest.raises(Unreachable):
        pipeline.close()
    assert [type(outcome) for outcome in pipeline.results] == [Unreachable] * 100
    return kv.close


def gives_up_kvsh(endpoint):
    script = b"".join(b"set ghost:%d 1\n" % number for number in range(300))
    done = subprocess.run(
        [*KVSH, "--url", endpoint, "--timeout", "0.3"], input=script, capture_output=True, check=False
    )
    assert done.returncode != 0
    assert b"no daemon answers" in done.stderr, done
    return lambda: None


@pytest.mark.parametrize("gives_up", [gives_up_sync, gives_up_async, gives_up_pipeline, gives_up_kvsh])
def test_nothing_runs_that_was_given_up(make_daemon, gives_up):
    daemon = make_daemon().start()
    daemon.kill()  # the socket's file stays, as after a crash
    close = gives_up(daemon.commands)
    daemon.start()
    time.sleep(0.3)  # a client that still wanted to send it could
    with daemon.client() as kv:
        assert kv.count() == 0
        close()
        assert kv.info("store")["store"]["revision"] == 0


def test_what_was_under_way_when_the_daemon_was_killed_is_not_sent_to_the_next(make_daemon):
    daemon = make_daemon().start()
    with daemon.client(timeout=60) as kv:
        kv.incr("n")
        pipeline = kv.pipeline()
        daemon.signal(signal.SIGSTOP)  # stopped: what is sent now lies in its buffers
        for _ in range(500):
            pipeline.incr("n")
        daemon.kill()
        daemon.start()
        with pytest.raises(ClientError):
            pipeline.close()
        ends = [each.outcome if isinstance(each, ClientError) else each for each in pipeline.results]
        sent = ends.count("unknown")
        assert sent >= 64  # what had been sent; only what had not goes to the next daemon
        assert ends == ["unknown"] * sent + list(range(2, 502 - sent))
        with daemon.client() as other:
            assert other.get("n") == b"%d" % (501 - sent)
