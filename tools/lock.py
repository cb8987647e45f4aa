"""Writes the lock files with the newest versions that pyproject.toml allows. `make lock` runs it.

Each file is one resolution for all platforms and for Python 3.11 and newer, with markers, and has the hash of each
package file. The smaller ones take the versions of requirements-dev.lock, so a package has one version in all of them.
requirements-build.lock has the build tools of kvd and of packages without a wheel.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

OLDEST_PYTHON = "3.11"
DEVELOPMENT = "requirements-dev.lock"
OPTIONS = {  # the first fixes the versions of the others
    DEVELOPMENT: ["--all-extras", "--group=build", "pyproject.toml"],
    "requirements-system.lock": ["--extra=grpc", "--extra=http", "--extra=metrics", "--extra=nats", "pyproject.toml"],
    "requirements.lock": ["pyproject.toml"],
    "requirements-build.lock": ["--group=build"],
}
HEAD = """\
# Written by `make lock`: do not edit.
# Download: {megabytes} MB
"""
MB = 10**6


def main() -> None:
    """Compile the lock files, and measure the download of each on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        venv.create(scratch / "venv", with_pip=True, symlinks=True)
        bin_ = scratch / "venv" / "bin"
        run(bin_ / "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
        for name, options in OPTIONS.items():
            print(f"{name} ...", flush=True)
            compiled = compile_lock(bin_ / "uv", scratch, name, options)
            Path(name).write_text(
                HEAD.format(megabytes=measure(bin_ / "pip", scratch, compiled)) + compiled.read_text()
            )


def compile_lock(uv: Path, scratch: Path, name: str, chosen: list[str]) -> Path:
    """Return a lock file with all hashes, in the scratch folder."""
    options = ["--universal", f"--python-version={OLDEST_PYTHON}", "--generate-hashes", "--no-header", "--no-annotate"]
    constraint = [] if name == DEVELOPMENT else ["--constraint", scratch / DEVELOPMENT]
    target = scratch / name
    run(uv, "pip", "compile", "--quiet", *options, *constraint, *chosen, "--output-file", target)
    return target


def measure(pip: Path, scratch: Path, lock: Path) -> int:
    """Return the megabytes that pip downloads for a lock file."""
    downloads = scratch / f"{lock.name}.d"
    run(pip, "download", "--quiet", "--require-hashes", "--requirement", lock, "--dest", downloads)
    return -(-sum(file.stat().st_size for file in downloads.iterdir()) // MB)


def run(*command: object) -> None:
    """Run a command; exit if it fails."""
    code = subprocess.run([str(word) for word in command], check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
