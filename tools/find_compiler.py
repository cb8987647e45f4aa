"""Writes the paths of the C compiler and of Python.h into a file, if they have changed: find_compiler.py FILE.

`make` rebuilds the C parts when the file is newer than the installation. The file is empty if one of them is missing.
"""

import os
import shutil
import sys
import sysconfig


def describe_compiler() -> str:
    """Return the paths of the compiler that setuptools would run and of Python.h; empty if one is missing."""
    compiler = shutil.which((os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0])
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    return f"{compiler} {header}\n" if compiler and os.path.exists(header) else ""


def main() -> None:
    """Write the file only if it changes."""
    if sys.version_info < (3, 11):
        sys.exit("kvd needs Python 3.11 or newer, %s is older: make PYTHON=..." % sys.executable)
    path, now = sys.argv[1], describe_compiler()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(path) as file:
            before = file.read()
    except FileNotFoundError:
        before = None
    if now != before:
        with open(path, "w") as file:
            file.write(now)


if __name__ == "__main__":
    main()
