"""kvd: a key-value daemon. Python programs talk to it with `Client` or `AsyncClient`.

Each name is loaded when it is first asked for: the daemon needs none of them, and asyncio costs a shell 40 ms.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvd.client import AsyncClient, Client
    from kvd.client.keys import read_keys

_MODULES = {
    "AsyncClient": "kvd.client",
    "Client": "kvd.client",
    "read_keys": "kvd.client.keys",
}

__all__ = ["AsyncClient", "Client", "read_keys"]


def __getattr__(name: str) -> Any:
    """Load the module of a name."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'kvd' has no attribute {name!r}")
