"""The process of every gateway."""

import subprocess
import sys

import pytest

from kvd.limits import MIB

# Every other block is freed, as the values are of which replies were made.
PROGRAM = """
import sys
from kvd.gateways.common.runner import separate_large_blocks
from kvd.server.memory_guard import resident_bytes
if sys.argv[1] == "separate":
    separate_large_blocks()
del [bytes(8 * 2**20)][0]  # from now on the heap has what is large
blocks = [b"x" * (4 * 2**20 + n) for n in range(32)]
del blocks[::2]
print(resident_bytes())
"""


def resident(how):
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's heap that keeps them")
def test_what_is_freed_between_large_blocks_goes_back_to_the_system():
    kept = 16 * 4 * MIB
    assert resident("as it is") > resident("separate") + kept * 3 // 4
