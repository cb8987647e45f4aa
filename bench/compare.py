"""kvd and Redis side by side in one run: the table of docs/performance.md.

Redis runs with `appendfsync always`: it answers a write when it is on disk, as kvd does. Each round runs a scenario on
Redis and then on kvd; the figure is the median of the rounds' ratios. Quote the ratio: machines are noisy.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from daemons import ECHO_PORT, Load, redis_rate, run_echo, run_kvd, run_redis

SCENARIOS = {  # name: (Redis's test, our operation, requests, connections, pipeline)
    "set-50": ("set", "SET", 100_000, 50, 1),
    "get-50": ("get", "GET", 150_000, 50, 1),
    "multiget100-50": ("mget", "MULTIGET100", 10_000, 50, 1),
    "set-1": ("set", "SET", 5_000, 1, 1),
    "get-1": ("get", "GET", 15_000, 1, 1),
    "set-50-p16": ("set", "SET", 300_000, 50, 16),
    "get-50-p16": ("get", "GET", 400_000, 50, 16),
}
LIMITS = {"50 connections": (150_000, 50, 1), "1 connection": (15_000, 1, 1), "50, 16 in flight": (1_000_000, 50, 16)}


def compare(load: Load, rounds: int) -> None:
    """Print the table."""
    with run_redis(), run_kvd():
        redis_rate("set", 300_000, 50, 16)
        load.run("SET", 300_000, 50, 16)
        for name, (test, op, *shape) in SCENARIOS.items():
            pairs = [(redis_rate(test, *shape), load.run(op, *shape)) for _ in range(rounds)]
            ratios = sorted(ours.rate / theirs for theirs, ours in pairs)
            theirs, ours = median(pair[0] for pair in pairs), median(pair[1].rate for pair in pairs)
            p50, p99 = median(pair[1].p50 for pair in pairs), median(pair[1].p99 for pair in pairs)
            print(
                f"{name:15} fsync=always  Redis {theirs:>9,.0f}/s  kvd {ours:>9,.0f}/s"
                f"  ratio {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
                f"  kvd p50 {p50:,.0f} us  p99 {p99:,.0f} us",
                flush=True,
            )


def limits(load: Load, folder: Path) -> None:
    """Print the rate of a ROUTER in C that only answers."""
    with run_echo(folder):
        for name, shape in LIMITS.items():
            figures = [load.run("GET", *shape, port=ECHO_PORT) for _ in range(3)]
            print(f"an echo in C, {name:17} {median(each.rate for each in figures):>9,.0f}/s")


def main() -> None:
    """Run the rounds; the argument is their number (5)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        load = Load(Path(folder))
        limits(load, Path(folder))
        if shutil.which("redis-server") and shutil.which("redis-benchmark"):
            compare(load, rounds)
        else:
            print("no Redis to compare with: apt-get install redis-server redis-tools", file=sys.stderr)


if __name__ == "__main__":
    main()
