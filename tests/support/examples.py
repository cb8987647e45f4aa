"""Python examples of the README and the manual, run as they are printed, with the endpoints of a test's daemon."""

import re

from support.running import Daemon


def prepare_example(text: str, daemon: Daemon) -> str:
    """Return an example with this daemon's endpoints; msgspec stands in for msgpack, which is not installed."""
    text = text.replace("tcp://127.0.0.1:7411", daemon.commands).replace("tcp://127.0.0.1:7412", daemon.changes)
    text = text.replace("Client()", f"Client({daemon.commands!r})")
    library = "from msgspec import msgpack\nmsgpack.packb, msgpack.unpackb = msgpack.encode, msgpack.decode\n"
    return re.sub(r"^import msgpack\n", library, text, flags=re.MULTILINE)
