"""GET through the TCP gateway beside an asyncio echo of the same bytes: `python bench/gateway_tcp.py [ROUNDS]`.

Both are servers of the same kind in a process of their own, on the same event loop; the client is a third process, with
50 connections, one request under way on each. Rounds alternate, and what is told are medians and their ratio.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

from kvd.client import Client
from kvd.gateways.tcp import fast_loop
from kvd.gateways.tcp_protocol import NARROW, done, request_bytes

GATEWAY_PORT, ECHO_PORT = 17414, 17415
CONNECTIONS = 50
SECONDS = 3.0
KEY, VALUE = b"user:12345", b"v" * 64
REQUEST = request_bytes(NARROW, 0, KEY)
REPLY = done(NARROW, VALUE)


class Echo(asyncio.Protocol):
    """Answers each request with the reply that the gateway would give, and looks at nothing but its length."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self.count += len(data)
        whole, self.count = divmod(self.count, len(REQUEST))
        self.transport.write(REPLY * whole)


class Asker(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    transport: asyncio.Transport

    def __init__(self, replies: list[int]) -> None:
        self.replies, self.count = replies, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        """Ask again when the reply is whole."""
        self.count += len(data)
        if self.count == len(REPLY):
            self.count = 0
            self.replies[0] += 1
            self.transport.write(REQUEST)


async def echo() -> None:
    """Serve."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", ECHO_PORT)
    await server.serve_forever()


async def ask(port: int) -> float:
    """Return the replies a second."""
    loop, replies = asyncio.get_running_loop(), [0]
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Asker(replies), "127.0.0.1", port)
    await asyncio.sleep(SECONDS / 6)
    begun, before = time.perf_counter(), replies[0]
    await asyncio.sleep(SECONDS)
    return (replies[0] - before) / (time.perf_counter() - begun)


@contextmanager
def process(*command: object) -> Iterator[None]:
    """Run a program for as long as the block runs."""
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL) as started:
        try:
            time.sleep(1)
            yield
        finally:
            started.terminate()


def measured(port: int) -> float:
    """Return what a client process has measured."""
    command = [sys.executable, __file__, "--ask", str(port)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def compare(rounds: int) -> None:
    """Measure both, alternating, and print."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvd-bench-")))
        url = f"ipc://{folder}/c"
        ends = ["--listen", url, "--publish", f"ipc://{folder}/p"]
        stack.enter_context(process(sys.executable, "-m", "kvd", "serve", "--data", folder / "data", *ends))
        listen = ["--listen", f"127.0.0.1:{GATEWAY_PORT}"]
        stack.enter_context(process(sys.executable, "-m", "kvd", "gateway", "tcp", "--url", url, *listen))
        stack.enter_context(process(sys.executable, __file__, "--echo"))
        with Client(url) as kv:
            kv.set(KEY, VALUE)
        pairs = [(measured(GATEWAY_PORT), measured(ECHO_PORT)) for _ in range(rounds)]
    gateway, plain = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"GET {gateway:,.0f}/s  echo {plain:,.0f}/s  ratio {ratio:.2f}  ({rounds} rounds of {CONNECTIONS} clients)")


def main() -> None:
    """Be what the arguments say."""
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        if sys.argv[1:2] == ["--echo"]:
            runner.run(echo())
        elif sys.argv[1:2] == ["--ask"]:
            print(runner.run(ask(int(sys.argv[2]))))
        else:
            compare(int(sys.argv[1]) if len(sys.argv) > 1 else 5)


if __name__ == "__main__":
    main()
