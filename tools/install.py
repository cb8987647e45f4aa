"""Installs kvd into a virtual environment, with the versions that a lock file pins: install.py VENV LOCK.

`make` runs it with the system's Python. It prints the size of the download first, then the name of each package. It
needs only the standard library. A package with a hash that the lock does not have is refused.
"""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from threading import Event, Thread

DOWNLOAD = re.compile(r"# Download: (.+)")  # measured by make lock
PINNED = re.compile(r"^[\w.-]+==", re.MULTILINE)
COLLECTING = re.compile(r"Collecting (\S+?)==([^\s;]+)")
BUILD_LOCK = Path("requirements-build.lock")
INSTALLING = "Installing collected packages"
INSTALLED = "lib/python*/site-packages/*.dist-info"
REPORT_S = 5
IS_COMPILED = "import kvd.native._native"
PLAIN = (
    "kvd: {reason}, so kvd runs in its plain form: SET takes 1.2 to 2 times as long, MULTIGET five times. "
    "The next make after `apt-get install gcc python3-dev` compiles it."
)


def main() -> None:
    """Install, and exit with the code of a failed command."""
    folder, lock = Path(sys.argv[1]), Path(sys.argv[2])
    report(f"kvd: installing what {lock} pins into {folder}, a download of {DOWNLOAD.findall(lock.read_text())[0]}")
    python = folder / "bin" / "python"
    if not python.exists():
        report("  the environment")
        create_venv(folder)
    remove_former_name(folder, python)
    run(*pip_install(python, BUILD_LOCK), "--quiet")
    install_locked(python, lock)
    install_kvd(python, log=folder / "build.log")
    compile_bytecode(python)
    report("kvd: installed")


def report(line: str) -> None:
    """Print to standard error: standard output belongs to the shell that starts next."""
    print(line, file=sys.stderr, flush=True)


def create_venv(folder: Path) -> None:
    """Create the environment, or exit with the name of the missing Debian package."""
    try:
        import ensurepip  # noqa: F401, PLC0415  # a separate package in Debian
    except ImportError:
        sys.exit("kvd: Python's venv is missing: apt-get install python3-venv")
    venv.create(folder, with_pip=True, symlinks=True)


def remove_former_name(folder: Path, python: Path) -> None:
    """Uninstall `kvd`, the former name of this distribution: both have the same files."""
    if list(folder.glob("lib/python*/site-packages/kvd-*.dist-info")):
        run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "kvd")


def pip_install(python: Path, lock: Path) -> list[str]:
    """Return the command that installs the packages of a lock file."""
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    return [*command, "--no-build-isolation", "--require-hashes", "--requirement", str(lock)]


def install_locked(python: Path, lock: Path) -> None:
    """Install the pinned packages, and print the name of each."""
    count = len(PINNED.findall(lock.read_text()))
    number, lines, is_over = 0, [], Event()
    command = pip_install(python, lock)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if found := COLLECTING.match(line):
                number += 1
                report(f"  {number:3} of at most {count}: {found[1]} {found[2]}")
            elif line.startswith(INSTALLING):
                report(f"  unpacking {number} packages")
                Thread(target=count_installed, args=(python.parents[1], number, is_over)).start()
    is_over.set()
    if process.returncode:
        report("".join(lines))
        sys.exit("kvd: pip failed, see above")


def count_installed(folder: Path, number: int, is_over: Event) -> None:
    """Print every few seconds how many packages are unpacked: pip is silent meanwhile."""
    before = len(list(folder.glob(INSTALLED)))
    while not is_over.wait(REPORT_S):
        report(f"  unpacked {len(list(folder.glob(INSTALLED))) - before} of {number}")


def install_kvd(python: Path, log: Path) -> None:
    """Install the clone in editable mode; print a line if the C parts are not compiled."""
    report("  kvd itself")
    remove_stale_extensions()
    command = [python, "-m", "pip", "install", "--verbose", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--editable", "."]
    with log.open("w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"{log.read_text()}\nkvd: the build failed, see above")
    if subprocess.run([python, "-c", IS_COMPILED], stderr=subprocess.DEVNULL, check=False).returncode:
        has_compiler = (log.parent / "compiler").read_text().strip()
        report(PLAIN.format(reason=f"the C compiler failed (see {log})" if has_compiler else "there is no C compiler"))


def remove_stale_extensions() -> None:
    """Delete modules compiled from older sources: without a compiler they would remain, and not fit the Python."""
    native = Path("kvd/native")
    newest = max(path.stat().st_mtime for path in native.glob("*.[ch]"))
    for built in Path("kvd").rglob("*.so"):
        # Earlier versions built them in another folder.
        if built.parent != native or built.stat().st_mtime < newest:
            built.unlink()


def compile_bytecode(python: Path) -> None:
    """Compile the Python files, even with PYTHONDONTWRITEBYTECODE: a command starts 20 ms sooner."""
    run(python, "-m", "compileall", "-q", "kvd", "kvsh")


def run(*command: os.PathLike[str] | str) -> None:
    """Run a command; exit with its code if it fails."""
    code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
