"""The client: for Python callers and for kvsh.

`Client` (blocking), `AsyncClient` (the same names with await), `Stream` (many commands in flight, for tools).
Each is loaded when first asked for: asyncio costs 40 ms, and a tool that needs a `Stream` starts 10 ms sooner.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvd.client.aio import AsyncClient
    from kvd.client.endpoints import DEFAULT_ENDPOINT
    from kvd.client.stream import Stream
    from kvd.client.sync import Client
    from kvd.commands.model import Change

ROOMS = {
    "AsyncClient": "kvd.client.aio",
    "Change": "kvd.commands.model",
    "Client": "kvd.client.sync",
    "DEFAULT_ENDPOINT": "kvd.client.endpoints",
    "Stream": "kvd.client.stream",
}

__all__ = ["DEFAULT_ENDPOINT", "AsyncClient", "Change", "Client", "Stream"]


def __getattr__(name: str) -> Any:
    """Load the room of a name."""
    if name in ROOMS:
        return getattr(import_module(ROOMS[name]), name)
    raise AttributeError(f"module 'kvd.client' has no attribute {name!r}")
