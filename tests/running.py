"""`kvd` as a process, run to its end, and waiting for what comes to hold."""

import subprocess
import sys
import time
from collections.abc import Callable


def run_kvd(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run `kvd` to its end."""
    command = [sys.executable, "-m", "kvd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def serve(*arguments: object) -> tuple[int, str]:
    """Run `kvd serve`, which is to be refused; return exit code and what it said."""
    done = run_kvd("serve", *arguments)
    return done.returncode, done.stderr


def eventually(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds; it is asked again and again."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not come to hold"
        time.sleep(0.01)
