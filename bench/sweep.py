"""Rate and p99 of SET and GET against connections, value size and number of keys, as charts in docs/."""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from chart import Series, chart
from daemons import Figures, Load, fill, run_kvd

DOCS = Path(__file__).parent.parent / "docs"
CONNECTIONS = (1, 2, 5, 10, 20, 50, 100, 200)
SIZES = (10, 100, 1_000, 10_000, 50_000)
KEYS = (10_000, 100_000, 1_000_000, 10_000_000)
OPS = ("SET", "GET")
BYTES = 200_000_000


def measure_median(run: Callable[[], Figures]) -> Figures:
    """Return the median of three runs."""
    runs = [run() for _ in range(3)]
    return Figures(*[median(values) for values in zip(*runs, strict=True)])


def draw(name: str, x_name: str, found: dict[str, list[tuple[float, Figures]]]) -> None:
    """Write a chart with a line for each operation."""
    rates = [Series(op, [(x, figures.rate) for x, figures in points]) for op, points in found.items()]
    waits = [Series(op, [(x, figures.p99) for x, figures in points]) for op, points in found.items()]
    text = chart(f"kvd: rate and p99 against {x_name}", x_name, [("requests per second", rates), ("p99, us", waits)])
    (DOCS / f"performance-{name}.svg").write_text(text)
    for op, points in found.items():
        told = "  ".join(f"{x:,.0f}: {figures.rate:,.0f}/s p99 {figures.p99:,.0f} us" for x, figures in points)
        print(f"{x_name:16} {op}  {told}", flush=True)


def by_connections(load: Load) -> None:
    """Draw the chart against connections."""
    found = {}
    for op in OPS:
        shapes = [(count, min(60_000, 6_000 * count)) for count in CONNECTIONS]
        found[op] = [(n, measure_median(lambda n=n, all_=all_: load.run(op, all_, n))) for n, all_ in shapes]  # noqa: B023
    draw("connections", "connections", found)


def by_size(load: Load) -> None:
    """Draw the chart against the size of values."""
    found: dict[str, list[tuple[float, Figures]]] = {op: [] for op in OPS}
    for size in SIZES:
        shape = {
            "requests": min(60_000, BYTES // size),
            "connections": 50,
            "size": size,
            "keys": min(20_000, BYTES // size),
        }
        load.run("SET", **shape)
        for op in OPS:
            found[op].append((size, measure_median(lambda: load.run(op, **shape))))  # noqa: B023
    draw("size", "bytes of a value", found)


def by_keys(load: Load, counts: Iterable[int]) -> None:
    """Draw the chart against the number of keys; each request takes a random key."""
    found: dict[str, list[tuple[float, Figures]]] = {op: [] for op in OPS}
    filled = 0
    for count in counts:
        fill(filled, count)
        filled = count
        for op in OPS:
            found[op].append((count, measure_median(lambda: load.run(op, 60_000, 50, keys=count))))  # noqa: B023
    draw("keys", "keys", found)


def main() -> None:
    """Measure; the argument is the largest number of keys (1,000,000)."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print("fsync=always, 50 connections, values of 100 bytes, 100,000 keys where nothing else is said")
    with tempfile.TemporaryDirectory() as folder:
        load = Load(Path(folder))
        for sweep in (by_connections, by_size, lambda load: by_keys(load, [count for count in KEYS if count <= most])):
            with run_kvd():
                load.run("SET", 200_000, 50, 16)
                sweep(load)


if __name__ == "__main__":
    main()
