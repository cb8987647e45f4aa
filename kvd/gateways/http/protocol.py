"""uvicorn's HTTP protocol with bounds of our own: how long a head may be, how long it may take, how many may come."""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kvd.gateways.http.records import Record
from kvd.limits import HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_MS, HTTP_LAST_MS

# A client may offer another protocol, as h2c, and is answered in this one if we do not take the offer (RFC 9110, 7.8).
# The parser would end the request at its head, and take the body for the next one.
OFFER = re.compile(rb"(?i)(?<=\r\n)upgrade(?=:(?![ \t]*websocket[ \t]*\r\n)[^\r\n]*\r\n)")
HEAD_END = b"\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """One connection. Without this a head could grow without end, and who says nothing would stay for ever."""

    unused_bytes = 0  # since a request began, or bytes of a body came: a head, trailers, what stands beside chunks
    is_in_head = True
    is_between = True  # requests: what comes next is the first byte of a head
    is_refused = False
    running: Any = None  # what is being answered; `cycle` is the last that has come
    head_timer: asyncio.TimerHandle | None = None
    record: Record | None = None  # what is being sent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > HTTP_CONNECTIONS_MAX:
            transport.close()
            return
        self.wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.head_is_there()
        for cycle in (self.running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begin to answer a request."""
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def wait_for_head(self) -> None:
        """Give a head its time."""
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(HTTP_HEAD_MS / 1000, self.transport.close)

    def head_is_there(self) -> None:
        """Take the time away."""
        self.is_in_head = False
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a head or trailers that are too long end the connection."""
        if self.is_refused:
            return
        self.unused_bytes += len(data)
        if self.is_between:
            head, end, rest = data.partition(HEAD_END)
            data = OFFER.sub(b"x-upgrade", head + end[:2]) + end[2:] + rest
            self.is_between = False
        super().data_received(data)
        if self.is_in_head:  # mostly it has come as one, and costs no timer
            self.wait_for_head()
        if self.unused_bytes > HTTP_HEAD_BYTES_MAX:
            self.refuse(f"What stands beside the body is longer than {HTTP_HEAD_BYTES_MAX} bytes.")

    def refuse(self, message: str) -> None:
        """Take nothing more in, and end; a request before this one is answered first."""
        self.is_refused = True
        if self.is_in_head and self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif not self.transport.is_closing():
            self.send_400_response(message)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: it is refused."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        self.is_in_head, self.is_between, self.unused_bytes = True, False, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header in. Trailers, which come after the body, mean nothing here."""
        if self.is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body in."""
        self.unused_bytes = 0
        if not self.is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self.unused_bytes, self.is_between = 0, True
        if not self.is_refused:
            super().on_message_complete()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        if self.parser.should_upgrade() and not self._should_upgrade():
            self.refuse("Upgrade is not supported, but to websocket.")  # an offer that came in parts, or CONNECT
        self.head_is_there()
        if self.is_refused:
            return
        super().on_headers_complete()
        if self.app.state.is_ending and self.cycle is not None:
            self.cycle.keep_alive = False  # which tells the client to ask elsewhere, or again

    def shutdown(self) -> None:
        """End with the answer to what is under way; if nothing is, let a request come that has been sent already."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(HTTP_LAST_MS / 1000, self.end_idle)
        else:
            super().shutdown()

    def end_idle(self) -> None:
        """End, unless a head is coming, or it is a WebSocket by now."""
        if self.unused_bytes == 0 and self in self.connections:
            super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a WebSocket, which has bounds of its own."""
        self.head_is_there()
        super().handle_websocket_upgrade()
