"""`kvsh watch PREFIX --exec COMMAND`: runs a command line of the system's shell for each change, one after the other.

The change is passed in environment variables only. On a command line, a key such as `$(reboot)` would be executed, and
every user of the machine could read it.
"""

import os
import subprocess
from base64 import b64encode

from kvd.commands.model import Change
from kvsh.ui.output import Output

PREFIX = b"KVD_WATCH_"
# Linux passes 128 KiB in one variable, including its name and the final NUL (MAX_ARG_STRLEN).
VARIABLE_BYTES_MAX = 127 * 1024


def run_hook(command: str, change: Change, output: Output) -> None:
    """Run a command line for a change, and wait for its exit. A failure is reported, and the watch continues."""
    inherited = {name: value for name, value in os.environb.items() if not name.startswith(PREFIX)}
    environment = {**inherited, **variables(change)}
    try:
        child = subprocess.run(["/bin/sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, check=False)  # noqa: S603  # the user's own command line
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the command
        output.message(f"kvsh: revision {change.revision}: cannot run the command of --exec: {error}")
        return
    if child.returncode:
        output.message(f"kvsh: revision {change.revision}: the command of --exec ended with {child.returncode}")


def variables(change: Change) -> dict[bytes, bytes]:
    """Return the environment variables of a change. Absent fields are not set."""
    facts: dict[str, object] = {
        "KIND": change.kind,
        "REVISION": change.revision,
        "PREVIOUS": change.previous,
        "TIME": change.time,
        "EXPIRES": change.expires,
    }
    environment = {PREFIX + name.encode(): str(fact).encode() for name, fact in facts.items() if fact is not None}
    for name, value in (("KEY", change.key), ("VALUE", change.value)):
        if value is not None:
            variable, text = _variable_of(name, value)
            environment[PREFIX + variable.encode()] = text
    return environment


def _variable_of(name: str, value: bytes) -> tuple[str, bytes]:
    """Return the variable for bytes: in base64 if they have a NUL byte, only the size if they are too long."""
    text = b64encode(value) if b"\0" in value else value
    if len(text) > VARIABLE_BYTES_MAX:
        return f"{name}_OMITTED", str(len(value)).encode()
    return (f"{name}_BASE64" if b"\0" in value else name), text
