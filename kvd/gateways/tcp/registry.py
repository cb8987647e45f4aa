"""The open connections of the TCP gateway."""

import asyncio
from typing import Protocol

from kvd.limits import TCP_LINGERING_MAX


class OpenConnection(Protocol):
    """A connection as the gateway uses it; connection.py has the class."""

    def check_timeouts(self, now: float) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...

    def write(self) -> None: ...


class Registry:
    """The accepted connections, and refused ones that are still open to receive their error."""

    def __init__(self, connections_max: int) -> None:
        self.connections_max = connections_max
        self.accepted: set[OpenConnection] = set()
        self.refused: set[OpenConnection] = set()
        self._changed = asyncio.Event()

    def add(self, connection: OpenConnection) -> bool:
        """Register a connection; return whether it is accepted."""
        is_accepted = len(self.accepted) < self.connections_max
        (self.accepted if is_accepted else self.refused).add(connection)
        return is_accepted

    def remove(self, connection: OpenConnection) -> None:
        """Unregister a closed connection."""
        self.accepted.discard(connection)
        self.refused.discard(connection)
        self._changed.set()

    def may_linger(self, connection: OpenConnection) -> bool:
        """Return whether a connection may stay open for its last reply; for refused ones the number is limited."""
        return connection not in self.refused or len(self.refused) <= TCP_LINGERING_MAX

    def all(self) -> list[OpenConnection]:
        """Return all open connections."""
        return [*self.accepted, *self.refused]

    async def wait_empty(self) -> None:
        """Return when no connection is open."""
        while self.accepted or self.refused:
            self._changed.clear()
            await self._changed.wait()
