"""Writes which C compiler and Python.h there are into a file, if that has changed: find_compiler.py FILE.

`make` builds what is in C again when the file is newer than the installation. The file is empty when one is missing.
"""

import os
import shutil
import sys
import sysconfig


def found() -> str:
    """Return the paths of the compiler that setuptools would run and of Python.h; empty when one is missing."""
    compiler = shutil.which((os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0])
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    return f"{compiler} {header}\n" if compiler and os.path.exists(header) else ""


def main() -> None:
    """Keep the file as it is while nothing has changed."""
    if sys.version_info < (3, 11):
        sys.exit("kvd needs Python 3.11 or newer, %s is older: make PYTHON=..." % sys.executable)
    path, now = sys.argv[1], found()
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
