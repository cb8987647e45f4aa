"""uvicorn's HTTP protocol with bounds of our own: how long a head may be, how long it may take, how many may come."""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kvd.gateways.http.change_cache import EncodedChange
from kvd.gateways.http.errors import raw_refusal
from kvd.limits import HTTP_CONNECTIONS_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADER_MS, HTTP_LAST_BYTES_MAX, HTTP_LAST_MS

# A client may offer another protocol, as h2c, and is answered in this one if we do not take the offer (RFC 9110, 7.8).
# The parser would end the request at its head, and take the body for the next one.
OFFER = re.compile(rb"(?i)(?<=\r\n)upgrade(?=:(?![ \t]*websocket[ \t]*\r\n)[^\r\n]*\r\n)")
HEAD_END = b"\r\n\r\n"
HEADER_FRAME_BYTES = len(": \r\n")
KEEP_ALIVE = (b"connection", b"keep-alive")


class Protocol(HttpToolsProtocol):
    """One connection. Without this a head could grow without end, and who says nothing would stay for ever."""

    head_bytes = 0  # of the head and the trailers of a request, as far as they have been parsed
    unused_bytes = 0  # since a request began, or bytes of a body came: a head, trailers, what stands beside chunks
    is_in_head = True
    is_between = True  # requests: what comes next is the first byte of a head
    is_refused = False
    running: Any = None  # what is being answered; `cycle` is the last that has come
    head_timer: asyncio.TimerHandle | None = None
    record: EncodedChange | None = None  # what is being sent
    drained = 0  # how often the client has taken what was written, so that more may be

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > HTTP_CONNECTIONS_MAX:
            transport.close()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._head_is_there()
        self._drop_requests()
        super().connection_lost(exc)

    def _drop_requests(self) -> None:
        """Let those end that answer requests: nothing more goes to the client."""
        for cycle in (self.running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begin to answer a request."""
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def resume_writing(self) -> None:
        """More may be written."""
        self.drained += 1
        super().resume_writing()

    def _wait_for_head(self) -> None:
        """Give a head its time."""
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(HTTP_HEADER_MS / 1000, self.transport.close)

    def _head_is_there(self) -> None:
        """Take the time away."""
        self.is_in_head = False
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a head or trailers that are too long end the connection."""
        self.unused_bytes += len(data)
        if self.is_refused:
            if self.unused_bytes > HTTP_LAST_BYTES_MAX:
                self.transport.close()
            return
        if self.is_between:
            head, end, rest = data.partition(HEAD_END)
            data = OFFER.sub(b"x-upgrade", head + end[:2]) + end[2:] + rest
            self.is_between = False
        super().data_received(data)
        if self.is_in_head:  # mostly it has come as one, and costs no timer
            self._wait_for_head()
        if self.unused_bytes > HTTP_HEADER_BYTES_MAX:
            self._refuse_length()

    def _refuse_length(self) -> None:
        """Refuse a head, or trailers, of more than HTTP_HEADER_BYTES_MAX."""
        what = "the head of the request" if self.is_in_head else "what stands beside the body"
        self._refuse(431, f"{what} has more than {HTTP_HEADER_BYTES_MAX} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Take nothing more in, and end; a request before this one is answered first."""
        if self.is_refused:
            return
        self.is_refused = True
        if self._is_answering and (self.is_in_head or not self.cycle.more_body):
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif not self.transport.is_closing():
            self._end_with(raw_refusal(status, message, self.server_state.default_headers))

    @property
    def _is_answering(self) -> bool:
        """Return whether a request before this one is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _end_with(self, response: bytes) -> None:
        """Send a response, and close a moment later: bytes that come after the end would take it from the client."""
        self.is_refused = True
        self.unused_bytes = 0
        self._head_is_there()
        self._drop_requests()
        self.transport.write(response)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(HTTP_LAST_MS / 1000, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, in the form of all errors."""
        self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: it is refused."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        self.is_in_head, self.is_between, self.unused_bytes, self.head_bytes = True, False, 0, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header in. Trailers, which come after the body, mean nothing here.

        All are counted, for `data_received` does not see the length of a head that comes in a single segment.
        """
        if self.is_refused:
            return
        self.head_bytes += len(name) + len(value) + HEADER_FRAME_BYTES
        if self.head_bytes > HTTP_HEADER_BYTES_MAX:
            self._refuse_length()
        elif self.is_in_head:
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
        if self.head_bytes + len(self.url) > HTTP_HEADER_BYTES_MAX:
            self._refuse_length()
        if self.parser.should_upgrade():
            self._check_upgrade()
        self._head_is_there()
        if self.is_refused:
            return
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None and self.parser.should_keep_alive():
            self.cycle.keep_alive = True
            self.cycle.default_headers = [*self.cycle.default_headers, KEEP_ALIVE]
        if self.app.state.is_ending and self.cycle is not None:
            self.cycle.keep_alive = False  # which tells the client to ask elsewhere, or again

    def _check_upgrade(self) -> None:
        """Refuse an upgrade that cannot be."""
        if not self._should_upgrade():
            self._refuse(400, "an upgrade is possible to websocket only")  # an offer that came in parts, or CONNECT
        elif self._is_answering:
            self._refuse(400, "a WebSocket cannot begin before the requests before it are answered")

    def end_after_answer(self) -> None:
        """Do not keep the connection for HTTP/1.0, which has no chunks: the answer ends with it."""
        self.running.keep_alive = False
        self.running.default_headers = self.server_state.default_headers

    def shutdown(self) -> None:
        """End with the answer to what is under way; if nothing is, let a request come that has been sent already."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(HTTP_LAST_MS / 1000, self._end_idle)
        else:
            super().shutdown()

    def _end_idle(self) -> None:
        """End, unless a head is coming, or it is a WebSocket by now."""
        if self.unused_bytes == 0 and self in self.connections:
            super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a WebSocket, which has bounds of its own."""
        self._head_is_there()
        if not self.is_refused:
            super().handle_websocket_upgrade()
