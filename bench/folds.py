"""The cost of folds: a load of keys in random order, and a client that sets a key each 10 ms.

Give the number of keys (2,000,000) and, as a second argument, a folder on the disk to measure.
"""

import subprocess
import sys
import tempfile
import time

from daemons import run_process

from kvd.client import Client

VALUE = b"x" * 100
PAUSE_S = 0.01
LOADER = """
import random, sys, time
from kvd import Client
chance = random.Random(1)
began = time.time()
with Client(sys.argv[1]) as kv:
    count = kv.load((chance.randbytes(16), b"x" * 100) for _ in range(int(sys.argv[2])))
print(f"loaded {count:,} in {time.time() - began:.1f} s")
"""


def main() -> None:
    """Load, and print the longest wait of the other client in each tenth of the time."""
    count = sys.argv[1] if len(sys.argv) > 1 else "2000000"
    with tempfile.TemporaryDirectory(prefix="kvd-bench-", dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        url = f"ipc://{folder}/kvd.sock"
        command = [sys.executable, "-m", "kvd", "serve", "--data", f"{folder}/data", "--log-level", "error"]
        with run_process([*command, "--listen", url, "--publish", f"ipc://{folder}/changes.sock"]) as daemon:
            waits: list[float] = []
            with subprocess.Popen([sys.executable, "-c", LOADER, url, count]) as loader, Client(url, timeout=60) as kv:
                while loader.poll() is None:
                    began = time.perf_counter()
                    kv.set(b"other", VALUE)
                    waits.append(time.perf_counter() - began)
                    time.sleep(PAUSE_S)
                facts = kv.info("store")["store"]
            part = max(1, len(waits) // 10)
            longest = [f"{max(waits[at : at + part]) * 1_000:.0f}" for at in range(0, len(waits), part)]
            print(f"longest waits, ms: {' '.join(longest)}; folds {facts['folds']}, waited for {facts['fold_waits']}")
            began = time.perf_counter()
            daemon.terminate()
            daemon.wait()
            print(f"stopped in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
