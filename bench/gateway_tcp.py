"""GET through the TCP gateway, compared with an asyncio echo of the same bytes: `python bench/gateway_tcp.py [ROUNDS]`.

There are three echoes: asyncio's streams, as in its manual; a bare protocol on asyncio's own loop; and the same
protocol on uvloop, which the gateway uses. Each runs in its own process, and so does the client, which has 50
connections with one request in flight on each. Rounds alternate. It prints medians and ratios.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

from daemons import run_process

from kvd.client import Client
from kvd.gateways.tcp.gateway import fast_loop
from kvd.gateways.tcp.protocol import NARROW, encode_request, encode_success

PORTS = (17414, 17415, 17416, 17417)  # of the gateway, and of the echoes
ECHOES = ("streams", "protocol", "uvloop")
CONNECTIONS = 50
SECONDS = 3.0
KEY, VALUE = b"user:12345", b"v" * 64
REQUEST = encode_request(NARROW, 0, KEY)
REPLY = encode_success(NARROW, VALUE)


class Echo(asyncio.Protocol):
    """Answers each request with the gateway's reply, and reads only the length of the request."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Answer the complete requests."""
        self.count += len(data)
        whole, self.count = divmod(self.count, len(REQUEST))
        self.transport.write(REPLY * whole)


class Asker(asyncio.Protocol):
    """Sends a request as soon as the last one is answered."""

    transport: asyncio.Transport

    def __init__(self, replies: list[int]) -> None:
        self.replies, self.count = replies, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        """Send the next request when the reply is complete."""
        self.count += len(data)
        if self.count == len(REPLY):
            self.count = 0
            self.replies[0] += 1
            self.transport.write(REQUEST)


async def echo(kind: str) -> None:
    """Serve."""
    port = PORTS[1 + ECHOES.index(kind)]
    if kind == "streams":
        await (await asyncio.start_server(answer, "127.0.0.1", port)).serve_forever()
    await (await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)).serve_forever()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client, as in asyncio's manual."""
    with suppress(ConnectionError):
        while await reader.read(len(REQUEST)):
            writer.write(REPLY)
            await writer.drain()


async def ask(port: int) -> float:
    """Return the replies a second."""
    loop, replies = asyncio.get_running_loop(), [0]
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Asker(replies), "127.0.0.1", port)
    await asyncio.sleep(SECONDS / 6)
    begun, before = time.perf_counter(), replies[0]
    await asyncio.sleep(SECONDS)
    return (replies[0] - before) / (time.perf_counter() - begun)


def measure(port: int) -> float:
    """Return the rate that a client process measures."""
    command = [sys.executable, __file__, "--ask", str(port)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def compare(rounds: int) -> None:
    """Measure both, alternating, and print."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvd-bench-")))
        url = f"ipc://{folder}/c"
        ends = ["--listen", url, "--publish", f"ipc://{folder}/p"]
        kvd = [sys.executable, "-m", "kvd"]
        stack.enter_context(run_process([*kvd, "serve", "--data", folder / "data", *ends, "--log-level", "error"]))
        stack.enter_context(run_process([*kvd, "gateway", "tcp", "--url", url, "--listen", f"127.0.0.1:{PORTS[0]}"]))
        for kind in ECHOES:
            stack.enter_context(run_process([sys.executable, __file__, f"--echo-{kind}"]))
        with Client(url) as kv:
            kv.set(KEY, VALUE)
        rows = [[measure(port) for port in PORTS] for _ in range(rounds)]
    gateway, *echoes = (statistics.median(each) for each in zip(*rows, strict=True))
    print(f"GET {gateway:,.0f}/s  ({rounds} rounds of {CONNECTIONS} clients)")
    for at, (name, rate) in enumerate(zip(ECHOES, echoes, strict=True), 1):
        print(f"echo ({name}) {rate:,.0f}/s  ratio {statistics.median(row[0] / row[at] for row in rows):.2f}")


def main() -> None:
    """Run the part that the arguments name."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    kind = word.removeprefix("--echo-")
    with asyncio.Runner(loop_factory=None if kind in ECHOES[:2] else fast_loop()) as runner:
        if kind in ECHOES:
            runner.run(echo(kind))
        elif word == "--ask":
            print(runner.run(ask(int(sys.argv[2]))))
        else:
            compare(int(word or 5))


if __name__ == "__main__":
    main()
