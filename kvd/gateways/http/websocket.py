"""uvicorn's WebSocket protocol: large messages in parts, errors in our JSON, no log lines that clients can cause."""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from kvd.gateways.http.change_cache import EncodedChange
from kvd.gateways.http.errors import raw_refusal, refusal_response

INVALID_DATA = 1007


class Handshake(ServerProtocol):
    """The protocol without I/O."""

    def reject(self, status: int, text: str) -> Response:
        """Return the response to a handshake that is none."""
        response = super().reject(status, text)
        told = refusal_response(status, text.strip())
        response.body = bytes(told.body)
        for name, value in told.headers.items():
            del response.headers[name]
            response.headers[name] = value
        return response


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    record: EncodedChange | None = None  # what is being sent
    drained = 0  # as of the HTTP protocol

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **options: Any) -> None:
        super().__init__(config, server_state, app_state, **options)
        self.conn = Handshake(max_size=config.ws_max_size, logger=self.logger)

    def data_received(self, data: bytes) -> None:
        """Take bytes in. The first are the head, which the HTTP protocol has taken in before."""
        super().data_received(data)
        error = self.conn.handshake_exc
        if error is not None and not self.handshake_initiated and not self.transport.is_closing():
            message = f"the head is none of a WebSocket: {error.__cause__ or error}"
            self.transport.write(raw_refusal(400, message, self.default_headers))
            self.transport.close()

    def resume_writing(self) -> None:
        """More may be written."""
        self.drained += 1
        super().resume_writing()

    def send_receive_event_to_app(self) -> None:
        """Pass a message on. uvicorn would log a text that is not UTF-8 as an error."""
        if self.curr_msg_data_type != "text" or _is_utf8(self.frames):
            super().send_receive_event_to_app()
        elif self.conn.state is OPEN:
            self.conn.send_close(INVALID_DATA)
            self.handle_parser_exception()

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


def _is_utf8(parts: list[bytes]) -> bool:
    """Return whether a message is UTF-8."""
    try:
        b"".join(parts).decode()
    except UnicodeDecodeError:
        return False
    return True
