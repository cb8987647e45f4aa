"""`kvd serve` with a disk that seems to be far behind: of each 8 commits, REFUSED in a row get BUSY."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kvd.cli import main
from kvd.errors import Busy
from kvd.storage.maintenance.back_pressure import BackPressure

PERIOD = 8


def refuse():
    """Refuse commits by their number."""
    refused, commits = int(os.environ["REFUSED"]), 0

    def wait_for_room(_, __):
        nonlocal commits
        commits += 1
        if commits % PERIOD >= PERIOD - refused:
            raise Busy("the disk does not keep up with the writes: try again in a moment")

    BackPressure.wait = wait_for_room


if __name__ == "__main__":
    refuse()
    main()
