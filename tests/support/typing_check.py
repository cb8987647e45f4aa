"""mypy over a piece of code, as a user of the package runs it."""

import subprocess
import sys
from pathlib import Path

from support.running import ROOT


def type_problems(text: str, directory: Path) -> str:
    """Return what `mypy --strict` says of a program; nothing when it has no objection."""
    program = directory / "program.py"
    program.write_text(text, encoding="utf-8")
    # A configuration of its own, so that the project's exemptions do not count; the cache of the project serves.
    arguments = ["--strict", "--config-file=", "--no-error-summary", f"--cache-dir={ROOT / '.mypy_cache' / 'examples'}"]
    command = [sys.executable, "-m", "mypy", *arguments, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout + done.stderr
