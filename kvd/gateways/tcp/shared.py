"""The objects that all connections of the TCP gateway share."""

import asyncio
from dataclasses import dataclass

from kvd.gateways.tcp.budget import SharedBudget
from kvd.gateways.tcp.coalesce import GetCoalescer, Submit
from kvd.gateways.tcp.protocol import Dialect
from kvd.gateways.tcp.registry import OpenConnection, Registry


class ReplyWriter:
    """Writes replies at the end of a turn of the loop, so that each connection writes once per turn."""

    __slots__ = ("_loop", "_ready")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: list[OpenConnection] = []

    def schedule(self, connection: OpenConnection) -> None:
        """Write a connection's replies at the end of this turn."""
        if not self._ready:
            self._loop.call_soon(self._write)
        self._ready.append(connection)

    def _write(self) -> None:
        ready, self._ready = self._ready, []
        for connection in ready:
            connection.write()


@dataclass(frozen=True, slots=True)  # not a NamedTuple, which is slower to read
class Shared:
    """The parts of the gateway that a connection uses."""

    loop: asyncio.AbstractEventLoop
    dialect: Dialect
    submit: Submit
    budget: SharedBudget
    coalescer: GetCoalescer
    writer: ReplyWriter
    registry: Registry
