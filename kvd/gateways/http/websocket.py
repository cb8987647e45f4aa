"""uvicorn's WebSocket protocol, with large messages in frames, errors as JSON, and no log lines caused by clients."""

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
    """The protocol without I/O, with JSON errors."""

    def reject(self, status: int, text: str) -> Response:
        response = super().reject(status, text)
        refusal = refusal_response(status, text.strip())
        response.body = bytes(refusal.body)
        for name, value in refusal.headers.items():
            del response.headers[name]
            response.headers[name] = value
        return response


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    record: EncodedChange | None = None  # the change that is being sent
    drained = 0  # see the HTTP protocol

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **options: Any) -> None:
        super().__init__(config, server_state, app_state, **options)
        self.conn = Handshake(max_size=config.ws_max_size, logger=self.logger)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, beginning with the head, which the HTTP protocol passes on."""
        super().data_received(data)
        error = self.conn.handshake_exc
        if error is not None and not self.handshake_initiated and not self.transport.is_closing():
            message = f"the request is not a WebSocket handshake: {error.__cause__ or error}"
            self.transport.write(raw_refusal(400, message, self.default_headers))
            self.transport.close()

    def set_record(self, record: EncodedChange | None) -> None:
        """Account for a large change while it is being sent."""
        self.record = record

    def resume_writing(self) -> None:
        self.drained += 1
        super().resume_writing()

    def send_receive_event_to_app(self) -> None:
        """Pass a message to the application. Refuses a text that is not UTF-8, which uvicorn would log as an error."""
        if self.curr_msg_data_type != "text" or _is_utf8(self.frames):
            super().send_receive_event_to_app()
        elif self.conn.state is OPEN:
            self.conn.send_close(INVALID_DATA)
            self.handle_parser_exception()

    async def run_asgi(self) -> None:
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """Send an ASGI message. If it has `pieces`, each is sent as a frame of one text."""
        pieces = message.get("pieces")
        if pieces is not None:
            await self._send_pieces(pieces)
            return
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # it was refused; else uvicorn would log an error

    async def _send_pieces(self, pieces: list[bytes]) -> None:
        """Send a text in frames. Each waits until the write buffer has drained. Raises ClientDisconnected."""
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
            await asyncio.sleep(0)  # else a fast client would delay all others


def _is_utf8(parts: list[bytes]) -> bool:
    try:
        b"".join(parts).decode()
    except UnicodeDecodeError:
        return False
    return True
