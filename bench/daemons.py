"""Servers on empty directories, and the load generator, for the benchmarks."""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import zmq

from kvd.client import Client, Stream
from kvd.commands.values import MultiSet

HERE = Path(__file__).parent
KVD_PORT, CHANGES_PORT, REDIS_PORT, ECHO_PORT = 17411, 17412, 17399, 17413
URL = f"tcp://127.0.0.1:{KVD_PORT}"
KEYS_PER_COMMAND = 1_000


class Figures(NamedTuple):
    """The result of one run of the load generator: requests a second, latencies in microseconds."""

    rate: float
    p50: float
    p99: float


def compile_program(name: str, folder: Path, *options: str) -> Path:
    """Compile a C program of this folder; exit with a sentence if there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("make bench needs a C compiler for its load generator: apt-get install gcc libc6-dev")
    target = folder / name
    subprocess.run([compiler, "-O2", "-o", target, HERE / f"{name}.c", *options], check=True)
    return target


@contextmanager
def run_process(command: list[object], *, seconds: float = 1.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program during the block."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as started:
        try:
            time.sleep(seconds)
            yield started
        finally:
            started.terminate()


@contextmanager
def run_kvd(fsync: str = "always") -> Iterator[subprocess.Popen[bytes]]:
    """Run kvd on an empty directory."""
    with tempfile.TemporaryDirectory(prefix="kvd-bench-") as folder:
        options = ["--listen", URL, "--publish", f"tcp://127.0.0.1:{CHANGES_PORT}", "--fsync", fsync]
        command = [sys.executable, "-m", "kvd", "serve", "--data", f"{folder}/data", "--log-level", "error", *options]
        with run_process(command) as daemon:
            yield daemon


@contextmanager
def run_redis() -> Iterator[None]:
    """Run Redis on an empty directory, with a reply to a write after its fsync."""
    with tempfile.TemporaryDirectory(prefix="kvd-bench-") as folder:
        options = ["--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--appendfsync", "always"]
        with run_process(["redis-server", "--port", REDIS_PORT, *options, "--save", ""]):
            yield


@contextmanager
def run_echo(folder: Path) -> Iterator[None]:
    """Run a ROUTER in C that answers at once: the limit of the transport."""
    [library] = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libzmq" in line}
    with zmq.Context(), run_process([compile_program("echo", folder, "-ldl"), library, f"tcp://127.0.0.1:{ECHO_PORT}"]):
        yield


class Load:
    """The load generator, compiled."""

    def __init__(self, folder: Path) -> None:
        self.program = compile_program("load", folder)

    def run(self, op: str, requests: int, connections: int, pipeline: int = 1, **more: int) -> Figures:
        """Run the load generator against kvd (or `port`); exit if a request fails."""
        words = [
            more.get("port", KVD_PORT),
            op,
            requests,
            connections,
            pipeline,
            more.get("size", 100),
            more.get("keys", 100_000),
        ]
        run = subprocess.run(
            [self.program, "127.0.0.1", *map(str, words)], capture_output=True, text=True, errors="replace", check=False
        )
        if run.returncode:
            sys.exit(f"the load generator failed: {run.stdout}{run.stderr}")
        return Figures(
            *[float(re.search(rf"{name}=(\d+)", run.stdout)[1]) for name in ("requests_per_s", "p50_us", "p99_us")]
        )


def redis_rate(test: str, requests: int, connections: int, pipeline: int) -> float:
    """Return the requests per second that redis-benchmark measures."""
    options = ["-p", REDIS_PORT, "-n", requests, "-c", connections, "-P", pipeline, "-d", 100, "-r", 100_000]
    words = ["mget", *["key:__rand_int__"] * 100] if test == "mget" else ["-t", test]
    command = ["redis-benchmark", *map(str, options), *words]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"throughput summary: ([\d.]+)", output)[-1])


def fill(first: int, last: int) -> float:
    """Set the keys of the load generator with these numbers; return the rate a second."""
    begun = time.perf_counter()
    with Stream(URL, window=8, timeout=60) as stream:
        for start in range(first, last, KEYS_PER_COMMAND):
            numbers = range(start, min(start + KEYS_PER_COMMAND, last))
            stream.send(MultiSet([(b"key:%012d" % number, b"%0100d" % number) for number in numbers]))
            if stream.in_flight == stream.window:
                stream.receive()
        while stream.in_flight:
            stream.receive()
    return (last - first) / (time.perf_counter() - begun)


def resident_mib(pid: int) -> int:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024


def store_facts() -> dict[str, int]:
    """Return the section store of INFO."""
    with Client(URL, timeout=60) as kv:
        return kv.info("store")["store"]
