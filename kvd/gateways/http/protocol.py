"""uvicorn's HTTP protocol with limits: on the length of a request's head, on its time, on the number of connections."""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kvd.gateways.http.change_cache import EncodedChange
from kvd.gateways.http.context import GatewayState
from kvd.gateways.http.errors import raw_refusal
from kvd.limits import HTTP_CONNECTIONS_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADER_MS, HTTP_LAST_BYTES_MAX, HTTP_LAST_MS

# A client may offer another protocol, such as h2c; a server that ignores the offer answers in HTTP/1 (RFC 9110, 7.8).
# The parser would end such a request after its head, and parse the body as the next request.
UPGRADE_OFFER = re.compile(rb"(?i)(?<=\r\n)upgrade(?=:(?![ \t]*websocket[ \t]*\r\n)[^\r\n]*\r\n)")
HEAD_END = b"\r\n\r\n"
HEADER_FRAME_BYTES = len(": \r\n")
KEEP_ALIVE = (b"connection", b"keep-alive")


class Protocol(HttpToolsProtocol):
    """One connection. uvicorn alone would accept endless heads, and keep silent connections forever.

    It has more than 12 attributes because it extends a class of uvicorn's, which calls all its methods.
    """

    head_bytes = 0  # parsed bytes of the request's head and trailers
    unused_bytes = 0  # received since the request began or since its last body bytes: head, trailers, chunk headers
    is_in_head = True
    is_between = True  # the next byte begins the head of a request
    is_refused = False
    running: Any = None  # the request that is being answered; `cycle` is the last one received
    head_timer: asyncio.TimerHandle | None = None
    record: EncodedChange | None = None  # the change that is being sent
    drained = 0  # how often the write buffer has run nearly empty

    def __init__(self, *args: Any, state: GatewayState, **options: Any) -> None:
        super().__init__(*args, **options)
        self.state = state

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept the connection, unless HTTP_CONNECTIONS_MAX is reached."""
        super().connection_made(transport)
        if len(self.connections) > HTTP_CONNECTIONS_MAX:
            transport.close()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_head_complete()
        self._drop_requests()
        super().connection_lost(exc)

    def _drop_requests(self) -> None:
        """Let handlers of pending requests end: nothing more is sent to the client."""
        for cycle in (self.running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def set_record(self, record: EncodedChange | None) -> None:
        """Account for a large change while it is being sent."""
        self.record = record

    def resume_writing(self) -> None:
        self.drained += 1
        super().resume_writing()

    def _wait_for_head(self) -> None:
        """Close the connection unless a head is complete within HTTP_HEADER_MS."""
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(HTTP_HEADER_MS / 1000, self.transport.close)

    def _on_head_complete(self) -> None:
        """Stop the timer of `_wait_for_head`."""
        self.is_in_head = False
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; a head or trailers that are too long end the connection."""
        self.unused_bytes += len(data)
        if self.is_refused:
            if self.unused_bytes > HTTP_LAST_BYTES_MAX:
                self.transport.close()
            return
        if self.is_between:
            head, end, rest = data.partition(HEAD_END)
            data = UPGRADE_OFFER.sub(b"x-upgrade", head + end[:2]) + end[2:] + rest
            self.is_between = False
        super().data_received(data)
        if self.is_in_head:  # rare: most heads arrive whole and need no timer
            self._wait_for_head()
        if self.unused_bytes > HTTP_HEADER_BYTES_MAX:
            self._refuse_length()

    def _refuse_length(self) -> None:
        """Refuse a head, or trailers, of more than HTTP_HEADER_BYTES_MAX."""
        part = "the head of the request" if self.is_in_head else "the framing of the body"
        self._refuse(431, f"{part} has more than {HTTP_HEADER_BYTES_MAX} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Stop reading and close; a pipelined request before this one is answered first."""
        if self.is_refused:
            return
        self.is_refused = True
        if self._is_answering and (self.is_in_head or not self.cycle.more_body):
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif not self.transport.is_closing():
            self._send_and_close(raw_refusal(status, message, self.server_state.default_headers))

    @property
    def _is_answering(self) -> bool:
        """Return whether an earlier request is not yet answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _send_and_close(self, response: bytes) -> None:
        """Send a response, and close after a delay: bytes that arrive after a close would reset the connection."""
        self.is_refused = True
        self.unused_bytes = 0
        self._on_head_complete()
        self._drop_requests()
        self.transport.write(response)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(HTTP_LAST_MS / 1000, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request with an error in the usual form."""
        self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the request is refused."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        self.is_in_head, self.is_between, self.unused_bytes, self.head_bytes = True, False, 0, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Accept a header; ignore trailers.

        All are counted, because `data_received` does not see the length of a head within a segment.
        """
        if self.is_refused:
            return
        self.head_bytes += len(name) + len(value) + HEADER_FRAME_BYTES
        if self.head_bytes > HTTP_HEADER_BYTES_MAX:
            self._refuse_length()
        elif self.is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self.unused_bytes = 0
        if not self.is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.unused_bytes, self.is_between = 0, True
        if not self.is_refused:
            super().on_message_complete()

    def on_headers_complete(self) -> None:
        if self.head_bytes + len(self.url) > HTTP_HEADER_BYTES_MAX:
            self._refuse_length()
        if self.parser.should_upgrade():
            self._check_upgrade()
        self._on_head_complete()
        if self.is_refused:
            return
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None and self.parser.should_keep_alive():
            self.cycle.keep_alive = True
            self.cycle.default_headers = [*self.cycle.default_headers, KEEP_ALIVE]
        if self.state.is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False  # so that the client's next request goes to another gateway

    def _check_upgrade(self) -> None:
        """Refuse an upgrade that is not possible."""
        if not self._should_upgrade():
            self._refuse(400, "an upgrade is possible to websocket only")  # an offer that arrived in parts, or CONNECT
        elif self._is_answering:
            self._refuse(400, "a WebSocket cannot begin before the requests before it are answered")

    def end_after_answer(self) -> None:
        """Close after the response: HTTP/1.0 has no chunks, so the end of the connection ends the body."""
        self.running.keep_alive = False
        self.running.default_headers = self.server_state.default_headers

    def shutdown(self) -> None:
        """Close after pending requests. An idle connection stays open for HTTP_LAST_MS, for a request in transit."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(HTTP_LAST_MS / 1000, self._close_idle)
        else:
            super().shutdown()

    def _close_idle(self) -> None:
        """Close, unless a head is being received or the connection has become a WebSocket."""
        if self.unused_bytes == 0 and self in self.connections:
            super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """Hand over to the WebSocket protocol, which has its own limits."""
        self._on_head_complete()
        if not self.is_refused:
            super().handle_websocket_upgrade()
