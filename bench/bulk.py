"""A million keys from a file and from Python, compared with `redis-cli --pipe`. The ways alternate, on empty daemons.

A SET a line for kvsh, the same SETs in RESP for redis-cli; `Client.load` and `Client.pipeline` draw the same pairs from
a generator. Redis runs with `appendfsync always`, kvd with `fsync = "always"`. Beside the seconds stands the processor
time of who loads (user and system, its start included): the daemon's is not in it. Quote the ratio: machines are noisy.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from daemons import REDIS_PORT, URL, run_kvd, run_redis

from kvd.client import Client

KEYS = 1_000_000
WAYS = ("redis-cli --pipe", "kvsh < file", "Client.load", "Client.pipeline")


class Timing(NamedTuple):
    """The seconds of a load: wall time, and processor time of the loading process."""

    wall: float
    cpu: float


def pairs() -> Iterator[tuple[bytes, bytes]]:
    return ((b"key:%012d" % number, b"%0100d" % number) for number in range(KEYS))


def write_files(folder: Path) -> None:
    """Write the input of kvsh and redis-cli."""
    with (folder / "lines").open("wb") as lines, (folder / "resp").open("wb") as resp:
        for key, value in pairs():
            lines.write(b"SET %b %b\n" % (key, value))
            resp.write(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value))


def run_with_input(command: list[object], file: Path) -> bytes:
    """Run a program with a file as its standard input; return its output."""
    with file.open("rb") as source:
        return subprocess.run(list(map(str, command)), stdin=source, capture_output=True, check=True).stdout


def load_by_redis_cli(folder: Path) -> None:
    """Load into Redis."""
    said = run_with_input(["redis-cli", "-p", REDIS_PORT, "--pipe"], folder / "resp")
    assert b"errors: 0, replies: %d" % KEYS in said, said


def load_by_kvsh(folder: Path) -> None:
    """Load from lines; each line has its own reply."""
    said = run_with_input([Path(sys.executable).with_name("kvsh"), "--url", URL, "--timeout", 60], folder / "lines")
    assert said == b"OK\n" * KEYS


def load_by_client(_: Path) -> None:
    """Load from Python."""
    with Client(URL, timeout=60) as kv:
        assert kv.load(pairs()) == KEYS


def load_by_pipeline(_: Path) -> None:
    """Load by a pipeline: each pair is a command with a result."""
    with Client(URL, timeout=60) as kv, kv.pipeline() as pipeline:
        for key, value in pairs():
            pipeline.set(key, value)
    assert pipeline.results == [None] * KEYS


LOADS: dict[str, Callable[[Path], None]] = dict(
    zip(WAYS, (load_by_redis_cli, load_by_kvsh, load_by_client, load_by_pipeline), strict=True)
)


def processor_s() -> float:
    """Return the processor time of this process and of its finished children."""
    return sum(os.times()[:4])


def measure(way: str, folder: Path) -> Timing:
    """Load into an empty daemon; return the timing."""
    with run_redis() if way == WAYS[0] else run_kvd():
        cpu, begun = processor_s(), time.perf_counter()
        LOADS[way](folder)
        return Timing(time.perf_counter() - begun, processor_s() - cpu)


def main() -> None:
    """Run the rounds; the argument is their number (3)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ways = WAYS if shutil.which("redis-server") and shutil.which("redis-cli") else WAYS[1:]
    with tempfile.TemporaryDirectory(prefix="kvd-bench-") as folder:
        write_files(Path(folder))
        runs = [{way: measure(way, Path(folder)) for way in ways} for _ in range(rounds)]
    for way in ways:
        wall, cpu = (median(figures) for figures in zip(*(run[way] for run in runs), strict=True))
        ratios = sorted(run[WAYS[0]].wall / run[way].wall for run in runs if WAYS[0] in run and way != WAYS[0])
        beside = f"  ratio {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})" if ratios else ""
        print(f"{way:16} fsync=always  {KEYS:,} keys {wall:6.2f} s  processor {cpu / KEYS * 1e6:.2f} us/key{beside}")
    if len(ways) < len(WAYS):
        print("no Redis to compare with: apt-get install redis-server redis-tools", file=sys.stderr)


if __name__ == "__main__":
    main()
