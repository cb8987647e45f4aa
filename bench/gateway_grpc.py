"""The cost of a Get through the gRPC gateway, compared with a grpcio server that answers a constant.

Both get the same load from another process: CALLS at once over one channel, for SECONDS a round. The rounds alternate,
so that other load on the machine affects both. It prints the medians and their ratio. On a busy machine, the processor
time of each server is more reliable than its rate. It needs the extra kvd-server[grpc]:

    python bench/gateway_grpc.py [ROUNDS]
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from daemons import run_process

from kvd.client import Client
from kvd.gateways.grpc import kvs2_pb2 as pb

CALLS = 50
SECONDS = 2.0
VALUE = b"x" * 100
GET = "/kvs2.Kvs2/Get"
ECHO_PORT, GATEWAY_PORT = 17451, 17452


async def echo(port: int) -> None:
    """Answer each Get with the same value, with as little code as grpcio needs."""

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
        print(len(times), len(times) / took, cuts[49] * 1e6, cuts[98] * 1e6)


@contextmanager
def gateway(folder: str) -> Iterator[int]:
    """Run a daemon with one key and a gateway; yield the gateway's pid."""
    url, kvd = f"ipc://{folder}/c.sock", [sys.executable, "-m", "kvd"]
    serve = [*kvd, "serve", "--data", f"{folder}/data", "--listen", url, "--publish", f"ipc://{folder}/p.sock"]
    with run_process([*serve, "--log-level", "error"]), Client(url) as kv:
        kv.set("key", VALUE)
        with run_process([*kvd, "gateway", "grpc", "--url", url, "--listen", f"127.0.0.1:{GATEWAY_PORT}"]) as started:
            yield started.pid


def one(port: int, pid: int) -> list[float]:
    """Run the load once; return its figures, and the microseconds of the server's processor time for each call."""
    before = cpu_seconds(pid)
    command = [sys.executable, Path(__file__), "load", str(port)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    count, *figures = [float(word) for word in done.stdout.split()]
    return [*figures, (cpu_seconds(pid) - before) / count * 1e6]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main(rounds: int) -> None:
    """Print the medians of both."""
    echoes, ours = [], []
    echoing = [sys.executable, Path(__file__), "echo", str(ECHO_PORT)]
    with (
        tempfile.TemporaryDirectory(prefix="kvd-bench-") as folder,
        gateway(folder) as pid,
        run_process(echoing) as server,
    ):
        for _ in range(rounds):
            echoes.append(one(ECHO_PORT, server.pid))
            ours.append(one(GATEWAY_PORT, pid))
    for name, rows in (("echo", echoes), ("gateway", ours)):
        rate, p50, p99, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:8} {rate:8.0f} Get/s   p50 {p50:6.0f} us   p99 {p99:6.0f} us   {cpu:4.0f} us of processor a call")
    print("ratio of the rates:", ratio_of(echoes, ours, 0), "of processor time:", ratio_of(ours, echoes, 3))


def ratio_of(below: list[list[float]], above: list[list[float]], column: int) -> str:
    """Return the median of the rounds' ratios, and each of them."""
    ratios = [over[column] / under[column] for under, over in zip(below, above, strict=True)]
    return f"{statistics.median(ratios):.2f} ({' '.join(f'{ratio:.2f}' for ratio in ratios)})"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", port]:
            asyncio.run(echo(int(port)))
        case ["load", port]:
            asyncio.run(load(int(port)))
        case words:
            main(int(words[0]) if words else 5)
