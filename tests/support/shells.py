"""The shells that the tests of completion run (a module on the path by pytest)."""

import shutil

import pytest

NO_CONFIGURATION = {
    "bash": ["bash", "--norc", "--noprofile"],
    "zsh": ["zsh", "-f"],
    "fish": ["fish", "--private", "--no-config"],
}
each_shell = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
        for name in NO_CONFIGURATION
    ],
)
