"""Installs kvd with other versions than those of the lock: bounds.py oldest|latest VENV.

oldest: the lower bounds in pyproject.toml, for the requirements of kvd and its extras. The tests' tools come from
requirements-dev.lock.
latest: the newest versions, whatever pyproject.toml allows. It prints how they differ from those of the lock.
"""

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

TOOLS = ("hypothesis", "pyte", "pytest", "pytest-randomly", "pytest-xdist", "pyyaml", "setuptools")
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[[^]]*\])?(?P<bounds>[^;]*)(?P<marker>;.*)?")
LOWER = re.compile(r">=\s*([\w.]+)")
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def main() -> None:
    """Install, and exit with the code of a failed command."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    wanted = {"oldest": oldest_requirements, "latest": latest_requirements}[kind]()
    print(f"kvd: installing the {kind} versions into {folder}: {' '.join(wanted)}", flush=True)
    if not (folder / "bin/python").exists():
        venv.create(folder, with_pip=True, symlinks=True)
    pip(folder, "install", "--quiet", "--upgrade", *wanted)
    pip(folder, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    if kind == "latest":
        report(folder)


def requirements() -> list[re.Match[str]]:
    """Return the requirements of kvd and its gateways, from pyproject.toml."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = [each for name, extra in project["optional-dependencies"].items() if name != "dev" for each in extra]
    found = [REQUIREMENT.fullmatch(each) for each in [*project["dependencies"], *extras]]
    return [each for each in found if each is not None]


def read_lock() -> dict[str, str]:
    """Return the version of each package in the lock for development."""
    return dict(PINNED.findall(Path("requirements-dev.lock").read_text()))


def oldest_requirements() -> list[str]:
    """Return requirements at the lower bounds, and the tests' tools in the versions of the lock."""
    versions = read_lock()
    bounded = {f"{name_of(each)}=={lower_bound(each)}{each['marker'] or ''}" for each in requirements()}
    return sorted(bounded | {f"{name}=={versions[name]}" for name in TOOLS})


def latest_requirements() -> list[str]:
    """Return requirements without any bounds."""
    return sorted({f"{name_of(each)}{each['marker'] or ''}" for each in requirements()} | set(TOOLS))


def name_of(requirement: re.Match[str]) -> str:
    """Return a requirement's name, with its extras."""
    return f"{requirement['name']}{requirement['extras'] or ''}"


def lower_bound(requirement: re.Match[str]) -> str:
    """Return a requirement's lower bound; each has one."""
    found: str = LOWER.findall(requirement["bounds"])[0]
    return found


def report(folder: Path) -> None:
    """Print the versions that differ from the lock."""
    frozen = subprocess.run([folder / "bin/pip", "list", "--format=freeze"], capture_output=True, text=True, check=True)
    before = read_lock()
    for name, version in PINNED.findall(frozen.stdout):
        known = before.get(name.lower().replace("_", "-"))
        if known not in (None, version):
            print(f"  {name} {version}, the lock has {known}")


def pip(folder: Path, *arguments: str) -> None:
    """Run pip; exit if it fails."""
    command = [folder / "bin/python", "-m", "pip", "--disable-pip-version-check", *arguments]
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    main()
