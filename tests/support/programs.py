"""Programs that a few tests run and a machine may lack. `.ci/run` installs them all."""

import shutil

import pytest


def require(program: str) -> None:
    """Skip the test when a program is not installed; Debian's package has its name."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install {program}")
