"""kvd's Python clients beside redis-py with hiredis, in one run. Redis runs with `appendfsync always`.

    python_clients.py [ROUNDS] [NAME ...]

Each round runs a scenario on redis-py and then on kvd. The figure is the median of the rounds' ratios of calls a second
(above 1: kvd is ahead), with the client's processor time a call. It needs redis-server, redis and hiredis (PyPI).
The `bare` scenarios send prepared requests over a socket and count the bytes of the replies, to either server: no
client in Python can be faster. Quote ratios: machines are noisy.
"""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import redis
import redis.asyncio
from daemons import KVD_PORT, REDIS_PORT, URL, run_kvd, run_redis

from kvd import AsyncClient, Client, wire
from kvd.client.connection import REQUEST_ENVELOPE, make_session
from kvd.client.zmtp import frame
from kvd.commands.values import Get, MultiGet

VALUE = b"x" * 100
KEYS = [f"key:{number}" for number in range(100)]
THREADS, TASKS, PIPELINE = 8, 50, 1_000


class Figures(NamedTuple):
    """Calls a second, and microseconds of this process's processor time a call."""

    rate: float
    cpu_us: float


def measure(calls: int, work: Callable[[], object]) -> Figures:
    """Time some work that makes `calls` calls."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return Figures(calls / (time.perf_counter() - begun), (time.process_time() - used) / calls * 1e6)


def call_one_by_one(client: Any, name: str, calls: int) -> Figures:
    """Call GET or SET one by one."""
    if name == "get":
        return measure(calls, lambda: [client.get("key:1") for _ in range(calls)])
    return measure(calls, lambda: [client.set("key:1", VALUE) for _ in range(calls)])


def run_pipelines(client: Any, name: str, calls: int) -> Figures:
    """Run pipelines of a thousand commands."""

    def work() -> None:
        for _ in range(calls // PIPELINE):
            if isinstance(client, Client):
                with client.pipeline() as pipeline:
                    fill(pipeline, name)
            else:
                pipeline = client.pipeline(transaction=False)
                fill(pipeline, name)
                pipeline.execute()

    return measure(calls, work)


def fill(pipeline: Any, name: str) -> None:
    """Put a thousand commands into a pipeline."""
    for number in range(PIPELINE):
        if name == "get":
            pipeline.get(KEYS[number % len(KEYS)])
        else:
            pipeline.set(KEYS[number % len(KEYS)], VALUE)


def read_many(client: Any, name: str, calls: int) -> Figures:
    """Read a hundred keys at once."""
    read = client.multiget if isinstance(client, Client) else client.mget
    del name
    return measure(calls, lambda: [read(*KEYS) for _ in range(calls)])


def run_threads(client: Any, name: str, calls: int) -> Figures:
    """Call from eight threads that share the client."""

    def work() -> None:
        part = calls // THREADS
        threads = [threading.Thread(target=call_one_by_one, args=(client, name, part)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return measure(calls, work)


def run_tasks(client: Any, name: str, calls: int) -> Figures:
    """Call from fifty tasks."""

    async def task(client: Any, count: int) -> None:
        for _ in range(count):
            await (client.get("key:1") if name == "get" else client.set("key:1", VALUE))

    async def work() -> None:
        if isinstance(client, Client):
            async with AsyncClient(URL) as ours:
                await asyncio.gather(*[task(ours, calls // TASKS) for _ in range(TASKS)])
        else:
            async with redis.asyncio.Redis(port=REDIS_PORT) as theirs:
                await asyncio.gather(*[task(theirs, calls // TASKS) for _ in range(TASKS)])

    return measure(calls, lambda: asyncio.run(work()))


def run_bare_socket(client: Any, name: str, calls: int) -> Figures:
    """Send prepared requests over a bare socket, and read the replies without decoding them."""
    is_ours = isinstance(client, Client)
    with socket.create_connection(("127.0.0.1", KVD_PORT if is_ours else REDIS_PORT)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_ours:
            session = make_session(None)
            while not session.is_open:
                sock.sendall(session.take_outgoing())
                session.receive(sock.recv(4096))
            sock.sendall(session.take_outgoing())
        request = (our_request if is_ours else their_request)(KEYS if name == "multiget" else ["key:1"])
        sock.sendall(request)
        time.sleep(0.1)  # the whole first reply has arrived
        reply_bytes = len(sock.recv(1 << 20))
        at_once = PIPELINE if name == "pipeline" else 1

        def work() -> None:
            for _ in range(calls // at_once):
                sock.sendall(request * at_once)
                left = reply_bytes * at_once
                while left > 0:
                    left -= len(sock.recv(1 << 18))

        return measure(calls, work)


def our_request(keys: list[str]) -> bytes:
    """Return GET or MULTIGET on kvd's wire."""
    names = [key.encode() for key in keys]
    return REQUEST_ENVELOPE + frame(0, wire.encode(Get(names[0]) if len(names) == 1 else MultiGet(names)))


def their_request(keys: list[str]) -> bytes:
    """Return GET or MGET on Redis's wire."""
    words = ["GET" if len(keys) == 1 else "MGET", *keys]
    return "".join([f"*{len(words)}\r\n", *[f"${len(word)}\r\n{word}\r\n" for word in words]]).encode()


SCENARIOS: dict[str, tuple[Callable[[Any, str, int], Figures], str, int]] = {
    "set": (call_one_by_one, "set", 2_000),
    "get": (call_one_by_one, "get", 10_000),
    "pipeline 1000 set": (run_pipelines, "set", 40_000),
    "pipeline 1000 get": (run_pipelines, "get", 60_000),
    "multiget 100": (read_many, "get", 3_000),
    "8 threads get": (run_threads, "get", 8_000),
    "8 threads set": (run_threads, "set", 4_000),
    "asyncio 50 set": (run_tasks, "set", 20_000),
    "asyncio 50 get": (run_tasks, "get", 20_000),
    "bare get": (run_bare_socket, "get", 10_000),
    "bare pipeline get": (run_bare_socket, "pipeline", 60_000),
    "bare multiget": (run_bare_socket, "multiget", 3_000),
}


def main() -> None:
    """Run the rounds; the argument is their number (5)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    names = sys.argv[2:] or list(SCENARIOS)
    with run_redis(), run_kvd():
        theirs, ours = redis.Redis(port=REDIS_PORT), Client(URL)
        for client in (theirs, ours):
            for key in KEYS:
                client.set(key, VALUE)
        for name in names:
            run, op, calls = SCENARIOS[name]
            pairs = [(run(theirs, op, calls), run(ours, op, calls)) for _ in range(rounds)]
            ratios = sorted(mine.rate / other.rate for other, mine in pairs)
            other, mine = [
                Figures(*[median(column) for column in zip(*side, strict=True)]) for side in zip(*pairs, strict=True)
            ]
            print(
                f"{name:18} redis-py {other.rate:>8,.0f}/s {other.cpu_us:>4.0f} us"
                f"  kvd {mine.rate:>8,.0f}/s {mine.cpu_us:>4.0f} us"
                f"  ratio {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})",
                flush=True,
            )
        ours.close()


if __name__ == "__main__":
    main()
