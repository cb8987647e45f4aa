"""kvd: a key-value daemon. Python programs talk to it with `Client` or `AsyncClient`.

Both are loaded when first asked for: the daemon needs neither, and asyncio costs a shell 40 ms.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvd.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    """Load a client."""
    if name in __all__:
        return getattr(import_module("kvd.client"), name)
    raise AttributeError(f"module 'kvd' has no attribute {name!r}")
