"""The cost of watchers for SET, and the delay of a change. The watchers run on the same processors."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import zmq
from daemons import CHANGES_PORT, URL, Figures, Load, compile_program, run_kvd

from kvd import Client, wire

CASES = {  # name: (how many watchers, what they subscribe to)
    "1 of every change": (1, "k"),
    "100 of ten keys": (100, "kkey:00000000001"),
    "100 of other keys": (100, "kother:"),
    "100 of every change": (100, "k"),
}
PROBES = 2_000


@contextmanager
def watchers(sink: Path, count: int, topic: str) -> Iterator[None]:
    """Run `count` watchers during the block."""
    command = [str(sink), str(CHANGES_PORT), str(count), topic]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run_process:
        assert run_process.stdout is not None
        run_process.stdout.readline()
        yield
        run_process.communicate()


def costs(load: Load, sink: Path, rounds: int) -> None:
    """Print the rates of SET with and without watchers, alternating."""
    for name, (count, topic) in CASES.items():
        pairs: list[tuple[Figures, Figures]] = []
        for _ in range(rounds):
            alone = load.run("SET", 100_000, 50)
            with watchers(sink, count, topic):
                pairs.append((alone, load.run("SET", 100_000, 50)))
        ratio = median(beside.rate / alone.rate for alone, beside in pairs)
        rate, p99 = median(beside.rate for _, beside in pairs), median(beside.p99 for _, beside in pairs)
        print(
            f"watchers: {name:20} fsync=always  SET {rate:>7,.0f}/s  {ratio:.2f} of alone  p99 {p99:,.0f} us",
            flush=True,
        )


def arrivals(times: list[float], is_ready: threading.Event) -> None:
    """Record the arrival time of each change of the probe."""
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.connect(f"tcp://127.0.0.1:{CHANGES_PORT}")
        sub.subscribe(b"kprobe")
        sub.subscribe(wire.CONTROL_TOPIC)
        while len(times) < PROBES:
            topic, _ = sub.recv_multipart()
            if topic == wire.CONTROL_TOPIC:
                is_ready.set()
            else:
                times.append(time.perf_counter())


def delays(load: Load) -> None:
    """Print the delay from a reply to the watcher's change, beside ten connections that write."""
    came: list[float] = []
    is_ready = threading.Event()
    watcher = threading.Thread(target=arrivals, args=(came, is_ready))
    writers = threading.Thread(target=lambda: load.run("SET", 100_000, 10))
    watcher.start()
    is_ready.wait()
    writers.start()
    told: list[float] = []
    with Client(URL) as kv:
        for _ in range(PROBES):
            kv.set("probe", b"x" * 100)
            told.append(time.perf_counter())
            time.sleep(0.001)
    watcher.join()
    writers.join()
    late = sorted(at - reply for at, reply in zip(came, told, strict=True))
    p50, p99 = (1_000_000 * max(0.0, late[len(late) * part // 100]) for part in (50, 99))
    print(f"from the reply to a watcher, fsync=always, ten others write: p50 {p50:,.0f} us  p99 {p99:,.0f} us")


def main() -> None:
    """Run the rounds; the argument is their number (3)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder, run_kvd():
        load, sink = Load(Path(folder)), compile_program("sink", Path(folder))
        load.run("SET", 300_000, 50, 16)
        costs(load, sink, rounds)
        delays(load)


if __name__ == "__main__":
    main()
