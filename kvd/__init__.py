"""kvd: a key-value daemon. Python programs talk to it with `Client` or `AsyncClient`.

Each name is loaded at its first use: the daemon needs none of them, and importing asyncio costs a shell 40 ms.
The errors of starting a daemon (`kvd.errors.StartError`) are not exported: no client raises them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kvd.version import VERSION as __version__  # noqa: N811  # the name that Python's tools look for

if TYPE_CHECKING:
    from kvd.client import AsyncClient, Client
    from kvd.client.async_lock import AsyncLock
    from kvd.client.async_mirror import AsyncMirror
    from kvd.client.async_watch import AsyncWatch
    from kvd.client.keys import Keys, read_keys
    from kvd.client.lock import Lock
    from kvd.client.mirror import Mirror
    from kvd.client.selection import Position
    from kvd.client.values import JSON, MSGPACK, Codec
    from kvd.client.watch import Watch
    from kvd.commands.model import Change
    from kvd.errors import (
        BadArgument,
        BadRequest,
        Busy,
        ClientError,
        Compacted,
        Conflict,
        Corrupt,
        Denied,
        Full,
        HistoryChanged,
        Internal,
        KvdError,
        LockLost,
        LockNotAcquired,
        NoReply,
        NotLetIn,
        OutcomeUnknown,
        ReadOnly,
        Refused,
        ShuttingDown,
        TooLarge,
        UnknownCommand,
        Unreachable,
        WrongType,
    )

_MODULES = {
    "AsyncClient": "kvd.client",
    "AsyncLock": "kvd.client.async_lock",
    "AsyncMirror": "kvd.client.async_mirror",
    "AsyncWatch": "kvd.client.async_watch",
    "BadArgument": "kvd.errors",
    "BadRequest": "kvd.errors",
    "Busy": "kvd.errors",
    "Change": "kvd.commands.model",
    "Client": "kvd.client",
    "ClientError": "kvd.errors",
    "Codec": "kvd.client.values",
    "Compacted": "kvd.errors",
    "Conflict": "kvd.errors",
    "Corrupt": "kvd.errors",
    "Denied": "kvd.errors",
    "Full": "kvd.errors",
    "HistoryChanged": "kvd.errors",
    "Internal": "kvd.errors",
    "JSON": "kvd.client.values",
    "Keys": "kvd.client.keys",
    "KvdError": "kvd.errors",
    "Lock": "kvd.client.lock",
    "LockLost": "kvd.errors",
    "LockNotAcquired": "kvd.errors",
    "MSGPACK": "kvd.client.values",
    "Mirror": "kvd.client.mirror",
    "NoReply": "kvd.errors",
    "NotLetIn": "kvd.errors",
    "OutcomeUnknown": "kvd.errors",
    "Position": "kvd.client.selection",
    "ReadOnly": "kvd.errors",
    "Refused": "kvd.errors",
    "ShuttingDown": "kvd.errors",
    "TooLarge": "kvd.errors",
    "UnknownCommand": "kvd.errors",
    "Unreachable": "kvd.errors",
    "Watch": "kvd.client.watch",
    "WrongType": "kvd.errors",
    "read_keys": "kvd.client.keys",
}

__all__ = [
    "JSON",
    "MSGPACK",
    "AsyncClient",
    "AsyncLock",
    "AsyncMirror",
    "AsyncWatch",
    "BadArgument",
    "BadRequest",
    "Busy",
    "Change",
    "Client",
    "ClientError",
    "Codec",
    "Compacted",
    "Conflict",
    "Corrupt",
    "Denied",
    "Full",
    "HistoryChanged",
    "Internal",
    "Keys",
    "KvdError",
    "Lock",
    "LockLost",
    "LockNotAcquired",
    "Mirror",
    "NoReply",
    "NotLetIn",
    "OutcomeUnknown",
    "Position",
    "ReadOnly",
    "Refused",
    "ShuttingDown",
    "TooLarge",
    "UnknownCommand",
    "Unreachable",
    "Watch",
    "WrongType",
    "__version__",
    "read_keys",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'kvd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
