"""The memory of a process, and threads that run until the end of a test."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

MIB = 1 << 20


def memory(pid: int, name: str = "VmRSS") -> int:
    """Return a process's memory from /proc, in bytes: VmRSS now, VmHWM at most so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no {name}")


def size(path: Path) -> int:
    """Return the size of a file, 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class Crew:
    """Threads that do something again and again until the end of a `with`; what they raise is raised there."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []
        self.errors: list[Exception] = []

    def add(self, work: Callable[[], None]) -> None:
        """Let a thread call this until the end; `work` may look at `stop` if it takes long."""

        def run() -> None:
            try:
                while not self.stop.is_set():
                    work()
            except Exception as error:  # noqa: BLE001  # raised at the end
                self.errors.append(error)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
