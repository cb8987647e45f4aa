"""What a Get costs through the gRPC gateway, beside a server of grpcio's that answers out of its head.

Both get the same load from a process of its own: CALLS at once over one channel, for SECONDS a round. The rounds
alternate, so that what else the machine does meets both; told are the medians, and their ratio. It wants the extra
kvd[grpc]: python bench/gateway_grpc.py [ROUNDS]
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from daemons import process

from kvd.client import Client
from kvd.gateways.grpc import kvs2_pb2 as pb

CALLS = 50
SECONDS = 2.0
VALUE = b"x" * 100
GET = "/kvs2.Kvs2/Get"
ECHO_PORT, GATEWAY_PORT = 17451, 17452


async def echo(port: int) -> None:
    """Answer each Get with the same value, as plainly as grpcio lets one."""

    async def get(request: pb.GetRequest, context: object) -> pb.GetReply:  # noqa: ARG001
        """Return the value."""
        return pb.GetReply(data=VALUE)

    handler = grpc.unary_unary_rpc_method_handler(
        get, request_deserializer=pb.GetRequest.FromString, response_serializer=pb.GetReply.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("kvs2.Kvs2", {"Get": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def load(port: int) -> None:
    """Call for some seconds; print calls a second, and the median and the 99th of a hundred in microseconds."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            GET, request_serializer=pb.GetRequest.SerializeToString, response_deserializer=pb.GetReply.FromString
        )
        request, times = pb.GetRequest(key=b"key"), []
        reply = await call(request)
        assert reply.data == VALUE
        begun = time.perf_counter()

        async def caller() -> None:
            """Call, one after the other."""
            while (before := time.perf_counter()) < begun + SECONDS:
                await call(request)
                times.append(time.perf_counter() - before)

        await asyncio.gather(*(caller() for _ in range(CALLS)))
        took = time.perf_counter() - begun
        cuts = statistics.quantiles(times, n=100)
        print(len(times) / took, cuts[49] * 1e6, cuts[98] * 1e6)


@contextmanager
def gateway(folder: str) -> Iterator[None]:
    """Run a daemon with one key, and the gateway before it."""
    url, kvd = f"ipc://{folder}/c.sock", [sys.executable, "-m", "kvd"]
    serve = [*kvd, "serve", "--data", f"{folder}/data", "--listen", url, "--publish", f"ipc://{folder}/p.sock"]
    with process([*serve, "--log-level", "error"]), Client(url) as kv:
        kv.set("key", VALUE)
        with process([*kvd, "gateway", "grpc", "--url", url, "--listen", f"127.0.0.1:{GATEWAY_PORT}"]):
            yield


def one(port: int) -> list[float]:
    """Run the load once; return its figures."""
    command = [sys.executable, Path(__file__), "load", str(port)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


def main(rounds: int) -> None:
    """Print the medians of both."""
    figures: dict[str, list[list[float]]] = {"echo": [], "gateway": []}
    echoing = [sys.executable, Path(__file__), "echo", str(ECHO_PORT)]
    with tempfile.TemporaryDirectory(prefix="kvd-bench-") as folder, gateway(folder), process(echoing):
        for _ in range(rounds):
            figures["echo"].append(one(ECHO_PORT))
            figures["gateway"].append(one(GATEWAY_PORT))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    for name, (rate, p50, p99) in medians.items():
        print(f"{name:8} {rate:8.0f} Get/s   p50 {p50:6.0f} us   p99 {p99:6.0f} us")
    ratios = [ours[0] / theirs[0] for theirs, ours in zip(figures["echo"], figures["gateway"], strict=True)]
    print(f"ratio of the medians {medians['gateway'][0] / medians['echo'][0]:.2f}", end="; ")
    print("of each round", " ".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", port]:
            asyncio.run(echo(int(port)))
        case ["load", port]:
            asyncio.run(load(int(port)))
        case words:
            main(int(words[0]) if words else 5)
