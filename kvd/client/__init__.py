"""The client library, for Python programs and for kvsh.

`Client` (blocking), `AsyncClient` (the same names, awaited), `Stream` (many commands in flight, for tools).
Each is loaded at its first use: importing asyncio costs 40 ms, and a tool that needs only `Stream` starts 10 ms sooner.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvd.client.aio import AsyncClient
    from kvd.client.endpoints import DEFAULT_ENDPOINT
    from kvd.client.stream import Stream
    from kvd.client.sync import Client
    from kvd.commands.model import Change

_MODULES = {
    "AsyncClient": "kvd.client.aio",
    "Change": "kvd.commands.model",
    "Client": "kvd.client.sync",
    "DEFAULT_ENDPOINT": "kvd.client.endpoints",
    "Stream": "kvd.client.stream",
}

__all__ = ["DEFAULT_ENDPOINT", "AsyncClient", "Change", "Client", "Stream"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'kvd.client' has no attribute {name!r}")
