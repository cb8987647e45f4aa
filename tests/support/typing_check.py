"""mypy over pieces of code, as a user of the package runs it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.running import ROOT


def type_problems(programs: Mapping[str, str], directory: Path) -> str:
    """Return what `mypy --strict` says of programs by name; nothing when it has no objection."""
    paths = [directory / f"{name}.py" for name in programs]
    for path, text in zip(paths, programs.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    # A configuration of its own, so that the project's exemptions do not count; the cache is the project's.
    options = ["--strict", "--config-file=", "--no-error-summary", f"--cache-dir={ROOT / '.mypy_cache' / 'examples'}"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout + done.stderr
