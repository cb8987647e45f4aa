"""The client: for Python callers and for kvsh.

`Client` (blocking), `AsyncClient` (the same names with await; loaded when first asked for, since asyncio
costs 40 ms), `Stream` (many commands in flight, for tools).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kvd.client.stream import DEFAULT_ENDPOINT, Stream
from kvd.client.sync import Client
from kvd.commands.entry import Change

if TYPE_CHECKING:
    from kvd.client.aio import AsyncClient

__all__ = ["DEFAULT_ENDPOINT", "AsyncClient", "Change", "Client", "Stream"]


def __getattr__(name: str) -> Any:
    """Load what needs asyncio."""
    if name == "AsyncClient":
        return import_module("kvd.client.aio").AsyncClient
    raise AttributeError(f"module 'kvd.client' has no attribute {name!r}")
