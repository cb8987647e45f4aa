"""uvicorn's WebSocket protocol, with messages in parts: a large one is neither copied nor held by the transport."""

import asyncio
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from kvd.gateways.http.records import Record


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    record: Record | None = None  # what is being sent

    async def run_asgi(self) -> None:
        """Run the application."""
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """Send a message of ASGI. The `pieces` of a text are sent in frames of their own."""
        pieces = message.get("pieces")
        if pieces is not None:
            await self._send_pieces(pieces)
            return
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # it was refused; uvicorn would log that as an error of ours

    async def _send_pieces(self, pieces: list[bytes]) -> None:
        """Send a text in frames, each when the client has taken most of those before. Raises ClientDisconnected."""
        last = len(pieces) - 1
        for at, piece in enumerate(pieces):
            await self.writable.wait()
            if self.disconnected:
                raise ClientDisconnected
            try:
                (self.conn.send_continuation if at else self.conn.send_text)(piece, fin=at == last)
            except InvalidState as error:
                raise ClientDisconnected from error
            self.transport.write(b"".join(self.conn.data_to_send()))
            await asyncio.sleep(0)  # else a client that is fast holds up all others
