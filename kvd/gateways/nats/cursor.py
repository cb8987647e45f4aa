"""How far the NATS bridge is, kept in kvd itself under kvd:nats:NAME."""

import secrets

from kvd.commands.keys import EntryOf
from kvd.commands.values import Set
from kvd.errors import Conflict
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.nats.messages import BridgeEnded, Position, position_bytes, position_in, position_key


class CursorStore:
    """The position in kvd, ours as long as nobody else writes it: each write asks for the revision of the last."""

    def __init__(self, link: Upstream, name: str) -> None:
        """Raises BadConfiguration."""
        self.upstream, self.name, self.key = link, name, position_key(name)
        self.writer = secrets.token_hex(8)
        self.entry_revision = 0
        self.kept: Position | None = None
        self.is_taken_over = False

    async def read(self) -> Position | None:
        """Return the position, None when there is none. Raises KvdError."""
        entry = (await self.upstream.answer(EntryOf(self.key, value=True))).result
        self.entry_revision = 0 if entry is None else entry["revision"]
        self.kept = None if entry is None else position_in(entry["value"])
        if entry is not None and self.kept is None:
            raise BridgeEnded(f"{self.key.decode()} holds no position of a bridge: clear it, or take another --name")
        return self.kept

    async def write(self, history: str, revision: int) -> None:
        """Keep a position. Raises BridgeEnded when another bridge has written, KvdError."""
        if self.is_taken_over:
            await self._check_owner()
        position = Position(history, revision, self.writer)
        try:
            answer = await self.upstream.answer(Set(self.key, position_bytes(position), revision=self.entry_revision))
        except Conflict:
            await self._check_owner()
            answer = await self.upstream.answer(Set(self.key, position_bytes(position), revision=self.entry_revision))
        self.entry_revision = answer.revision
        self.kept = position

    async def _check_owner(self) -> None:
        """A write of ours whose reply was lost is no conflict; raise BridgeEnded for one of another bridge."""
        found = await self.read()
        if found is None or found.writer != self.writer:
            self.is_taken_over = True  # or the last write, as this bridge ends, would end the other one
            raise BridgeEnded(
                f"another bridge has the name {self.name}, or somebody has cleared {self.key.decode()}: "
                "each bridge needs a --name of its own"
            )
