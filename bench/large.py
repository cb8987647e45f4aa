"""More keys than fit into memory. Prints how cost, memory and waiting change with their number."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from daemons import URL, Load, fill, resident_mib, run_kvd, store_facts

from kvd.client import Client

FEW = 100_000


def load_keys(pid: int, count: int) -> None:
    """Set all keys, and print the cost of each tenth."""
    for tenth in range(10):
        rate = fill(count * tenth // 10, count * (tenth + 1) // 10)
        print(
            f"  {count * (tenth + 1) // 10:>12,} keys: {rate:>9,.0f} keys/s  resident {resident_mib(pid)} MiB",
            flush=True,
        )


def hot_and_cold(load: Load, pid: int, count: int) -> None:
    """Compare requests for all keys with requests for a few."""
    for name, op, *shape in (
        ("GET, 1 connection", "GET", 20_000, 1, 1),
        ("GET, 50 connections", "GET", 150_000, 50, 1),
        ("SET, 50 connections", "SET", 100_000, 50, 1),
        ("SET, 50, 16 in flight", "SET", 300_000, 50, 16),
    ):
        load.run(op, *shape, keys=FEW)
        warm, cold = load.run(op, *shape, keys=FEW), load.run(op, *shape, keys=count)
        print(
            f"  {name:22} {FEW:,} keys {warm.rate:>8,.0f}/s p50 {warm.p50:>6,.0f} us   all keys {cold.rate:>8,.0f}/s"
            f" p50 {cold.p50:>6,.0f} us   rate x {cold.rate / warm.rate:.2f}  resident {resident_mib(pid)} MiB",
            flush=True,
        )


def scan_keys(stop: threading.Event) -> float:
    """Scan keys until `stop` is set; return the rate a second."""
    count, begun = 0, time.perf_counter()
    with Client(URL, timeout=60) as kv:
        while not stop.is_set():
            for _ in kv.scan():
                count += 1
                if stop.is_set():
                    break
    return count / (time.perf_counter() - begun)


def measure_scans(load: Load) -> None:
    """Print the rate of a scan, alone and beside other clients, and the latency of these clients."""
    with Client(URL, timeout=60) as kv:
        begun = time.perf_counter()
        count = sum(1 for _ in kv.scan())
        print(f"  SCAN of {count:,} keys: {count / (time.perf_counter() - begun):,.0f} keys/s")
    alone = load.run("GET", 300_000, 50, keys=FEW)
    stop, rates = threading.Event(), []
    walker = threading.Thread(target=lambda: rates.append(scan_keys(stop)))
    walker.start()
    beside = load.run("GET", 300_000, 50, keys=FEW)
    stop.set()
    walker.join()
    print(f"  beside 50 connections of GET {rates[0]:,.0f} keys/s; their p99 {alone.p99:,.0f} -> {beside.p99:,.0f} us")


def measure_catch_up() -> None:
    """Print how fast a watcher reads missed changes."""
    facts = store_facts()
    begun = time.perf_counter()
    with Client(URL, timeout=60) as kv:
        for count, change in enumerate(kv.watch(since=facts["compacted"]), 1):
            if change.revision >= facts["revision"]:
                print(f"  a watcher catches up {count:,} changes: {count / (time.perf_counter() - begun):,.0f}/s")
                return


def main() -> None:
    """Measure; the argument is the number of keys (1,000,000)."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{count:,} keys with values of 100 bytes, fsync=always")
    with tempfile.TemporaryDirectory() as folder, run_kvd() as daemon:
        load = Load(Path(folder))
        load_keys(daemon.pid, count)
        hot_and_cold(load, daemon.pid, count)
        measure_scans(load)
        measure_catch_up()
        command = Path(f"/proc/{daemon.pid}/cmdline").read_bytes().split(b"\0")[:-1]
        daemon.kill()
        daemon.wait()
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as again, Client(URL, timeout=60) as kv:
            kv.ping()
            print(f"  ready after kill -9: {time.perf_counter() - begun:.2f} s")
            again.terminate()


if __name__ == "__main__":
    main()
