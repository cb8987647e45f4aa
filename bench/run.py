"""`make bench`: rates and latencies of kvd on this machine, through its own client; no comparison, no promise.

Prints the durability mode beside each figure. Machines are noisy: compare within one run only.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kvd.client import Client

VALUE = b"x" * 100


def rate(count: int, work: Callable[[], None]) -> str:
    """Return how many a second."""
    begun = time.perf_counter()
    work()
    return f"{count / (time.perf_counter() - begun):>10,.0f}/s"


def latency(count: int, work: Callable[[int], object]) -> str:
    """Return the median and the 99th percentile of single calls, in microseconds."""
    times = []
    for number in range(count):
        begun = time.perf_counter()
        work(number)
        times.append((time.perf_counter() - begun) * 1e6)
    return f"p50 {statistics.median(times):>6,.0f} us  p99 {statistics.quantiles(times, n=100)[98]:>6,.0f} us"


def fill(kv: Client, count: int) -> None:
    """Set so many keys through a pipeline."""
    with kv.pipeline() as pipeline:
        for number in range(count):
            pipeline.set(b"key:%012d" % number, VALUE)


def read(kv: Client, count: int) -> None:
    """Get so many keys through a pipeline."""
    with kv.pipeline() as pipeline:
        for number in range(count):
            pipeline.get(b"key:%012d" % (number * 7919 % count))


def resident_mib(pid: int) -> int:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024


def follow(kv: Client, count: int) -> None:
    """Read so many changes from the journal."""
    since = 0
    while since < count:
        since = kv.changes(since, limit=10_000)[-1].revision


def measure(kv: Client, pid: int, count: int, fsync: str) -> None:
    """Print the figures of one mode."""
    print(f"--- fsync = {fsync}, {count:,} keys of {len(VALUE)} bytes")
    print("SET, pipelined     ", rate(count, lambda: fill(kv, count)))
    print("GET, pipelined     ", rate(count, lambda: read(kv, count)))
    print("SCAN               ", rate(count, lambda: sum(1 for _ in kv.scan())))
    print("CHANGES            ", rate(count, lambda: follow(kv, count)))
    print("SET, one by one    ", latency(2000, lambda n: kv.set(b"key:%012d" % n, VALUE)))
    print("GET, one by one    ", latency(2000, lambda n: kv.get(b"key:%012d" % (n * 7919 % count))))
    print("SCAN, a page of 100", latency(500, lambda n: kv.scan_page(b"key:%07d" % (n % 10))))
    print(f"resident            {resident_mib(pid):>10,} MiB")


def main() -> None:
    """Measure each durability mode on a fresh directory."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for fsync in ("always", "interval", "never"):
        with tempfile.TemporaryDirectory() as folder:
            ends = [f"ipc://{folder}/c", f"ipc://{folder}/p"]
            command = [sys.executable, "-m", "kvd", "serve", "--data", f"{folder}/d", "--fsync", fsync]
            command += ["--listen", ends[0], "--publish", ends[1], "--log-level", "error"]
            with subprocess.Popen(command) as daemon, Client(ends[0], timeout=60) as kv:
                measure(kv, daemon.pid, count, fsync)
                begun = time.perf_counter()
                daemon.kill()
                daemon.wait()
                with subprocess.Popen(command) as again:
                    kv.ping()
                    print(f"ready after kill -9 {time.perf_counter() - begun:>10.2f} s")
                    again.terminate()


if __name__ == "__main__":
    main()
