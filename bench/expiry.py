"""The cost of an expiry storm: a client sets a key each 2 ms while 200,000 keys are due at one millisecond."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles

from daemons import run_process

from kvd.client import Client
from kvd.commands.values import MultiSet

KEYS = 200_000
USUAL_S = 4.0
PAUSE_S = 0.002
LOADED_S = 20.0  # within which all keys are set


@contextmanager
def daemon() -> Iterator[str]:
    """Run kvd on an empty directory; yield its endpoint."""
    with tempfile.TemporaryDirectory(prefix="kvd-bench-") as folder:
        url = f"ipc://{folder}/kvd.sock"
        command = [sys.executable, "-m", "kvd", "serve", "--data", f"{folder}/data", "--log-level", "error"]
        with run_process([*command, "--listen", url, "--publish", f"ipc://{folder}/changes.sock"]):
            yield url


def fill(client: Client, at: int) -> None:
    """Set keys that expire at one time."""
    with client.pipeline() as pipeline:
        for start in range(0, KEYS, 1_000):
            pairs = [(b"due:%d" % number, b"x" * 100) for number in range(start, start + 1_000)]
            pipeline.run(MultiSet(pairs, at=at))


def waits(client: Client, until: float) -> list[float]:
    """Set a key repeatedly until a time; return the milliseconds of each SET."""
    found: list[float] = []
    while time.time() < until:
        began = time.perf_counter()
        client.set("other", "x" * 100)
        found.append((time.perf_counter() - began) * 1_000)
        time.sleep(PAUSE_S)
    return found


def report(name: str, found: list[float]) -> float:
    """Print the percentiles of some waits; return the p99."""
    cuts = quantiles(found, n=100)
    print(
        f"{name:6} {len(found):5} SETs  p50 {cuts[49]:7.2f} ms  p99 {cuts[98]:7.2f}  max {max(found):7.2f}", flush=True
    )
    return cuts[98]


def measure() -> float:
    """Run one storm; return the ratio of its p99 to the usual p99."""
    with daemon() as url, Client(url) as client:
        at = int((time.time() + LOADED_S) * 1_000)
        fill(client, at)
        waits(client, at / 1_000 - USUAL_S - 1)  # folds what was loaded
        usual = report("usual", waits(client, at / 1_000 - 1))
        waits(client, at / 1_000)
        storm: list[float] = []
        began = time.time()
        while client.info("store")["store"]["keys"] > 1:
            storm += waits(client, time.time() + 0.1)
        took = time.time() - began
        ratio = report("storm", storm) / usual
        print(f"ratio {ratio:.2f}, swept in {took:.1f} s")
        return ratio


if __name__ == "__main__":
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        measure()
