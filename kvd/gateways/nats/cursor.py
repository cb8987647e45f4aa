"""The position of the NATS bridge, stored in kvd itself under kvd:nats:NAME."""

import secrets

from kvd.commands.keys import EntryOf
from kvd.commands.values import Set
from kvd.errors import Conflict
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.nats.messages import BridgeEnded, Position, parse_position, position_bytes, position_key


class CursorStore:
    """The stored position. Each write requires the revision of the previous one, so another writer is noticed."""

    def __init__(self, upstream: Upstream, name: str) -> None:
        """Raises BadConfiguration for a bad name."""
        self.upstream, self.name, self.key = upstream, name, position_key(name)
        self.writer = secrets.token_hex(8)
        self.entry_revision = 0
        self.stored: Position | None = None
        self.has_lost_key = False

    async def read(self) -> Position | None:
        """Return the stored position, or None. Raises KvdError."""
        entry = (await self.upstream.answer(EntryOf(self.key, value=True))).result
        self.entry_revision = 0 if entry is None else entry["revision"]
        self.stored = None if entry is None else parse_position(entry["value"])
        if entry is not None and self.stored is None:
            raise BridgeEnded(
                f"{self.key.decode()} holds a value that is not a bridge's position: clear it, or use another --name"
            )
        return self.stored

    async def write(self, history: str, revision: int) -> None:
        """Store a position. Raises BridgeEnded if another bridge has written the key, KvdError."""
        if self.has_lost_key:
            await self._check_owner()
        position = Position(history, revision, self.writer)
        try:
            answer = await self.upstream.answer(Set(self.key, position_bytes(position), revision=self.entry_revision))
        except Conflict:
            await self._check_owner()
            answer = await self.upstream.answer(Set(self.key, position_bytes(position), revision=self.entry_revision))
        self.entry_revision = answer.revision
        self.stored = position

    async def _check_owner(self) -> None:
        """Raise BridgeEnded if another bridge wrote the position. After a lost reply, a conflict is normal."""
        stored = await self.read()
        if stored is None or stored.writer != self.writer:
            self.has_lost_key = True  # the last write at shutdown must not overwrite the position of the other bridge
            raise BridgeEnded(
                f"another bridge uses the name {self.name}, or {self.key.decode()} was cleared: "
                "each bridge needs a --name of its own"
            )
