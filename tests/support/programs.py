"""Programs that a few tests run and a machine may lack. `.ci/run` installs them all."""

import os
import shutil

import pytest

without_coverage = pytest.mark.skipif(
    "COVERAGE_PROCESS_CONFIG" in os.environ, reason="coverage loads modules and writes files in each process"
)


def require(program: str) -> None:
    """Skip the test when a program is not installed; Debian's package has its name."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install {program}")
