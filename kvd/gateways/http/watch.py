"""GET /v1/watch: streams changes, complete and in order, as server-sent events or over a WebSocket.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from kvd.commands.model import Change
from kvd.errors import BadArgument, KvdError
from kvd.gateways.http.change_cache import Format, encode_small, is_large
from kvd.gateways.http.context import context_of
from kvd.gateways.http.errors import body_of, encode, error_response, refusal_response, status_of
from kvd.gateways.http.feeds import Feed, cancel_all, change_record
from kvd.gateways.http.request_data import number, one, parse_query
from kvd.limits import HTTP_LARGE_BYTES, INTEGER_MAX

FIELDS = ("prefix", "since", "history")
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter disables nginx's buffering
# Close codes of a WebSocket (RFC 6455, 7.4): the HTTP status of an error, moved into the range for private use.
PRIVATE, GOING_AWAY = 4000, 1001
REASON_BYTES_MAX = 120
DIGITS_MAX = 19
EVENT_END = b"\n\n"


async def _start_feed(request: HTTPConnection, stack: AsyncExitStack) -> Feed:
    """Return the feed for a request. Raises KvdError."""
    context = context_of(request)
    fields = parse_query(request, *FIELDS)
    since, history = number(fields, "since"), one(fields, "history")
    if (last := request.headers.get("last-event-id")) is not None:
        if not last.isascii() or not last.isdigit() or len(last) > DIGITS_MAX:
            raise BadArgument("Last-Event-ID must be a revision")
        since = int(last)
    if since is not None and since > INTEGER_MAX:
        raise BadArgument("since must be a revision, of at most 63 bits")
    name = None if history is None else history.decode("latin-1")
    feed = context.gateway.feeds.feed(context.upstream, fields.get("prefix", []), since, name)
    return await stack.enter_async_context(feed)


class Events(StreamingResponse):
    """A response that streams a feed as events."""

    def __init__(self, feed: Feed, connection: Any, stack: AsyncExitStack) -> None:
        self.feed, self.connection, self.stack = feed, connection, stack
        super().__init__(
            _event_stream(feed, connection), headers={**HEADERS, **feed.headers}, media_type="text/event-stream"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["http_version"] == "1.0":
            self.connection.end_after_answer()
        async with self.stack:
            await self.feed.run_until_end(super().__call__(scope, receive, send))


async def events(request: Request) -> Response:
    """Stream changes as server-sent events. Errors at the start are sent as a normal response."""
    if request.method == "HEAD":
        raise HTTPException(405, headers={"Allow": "GET"})
    async with AsyncExitStack() as stack:
        feed = await _start_feed(request, stack)
        return Events(feed, context_of(request).connection, stack.pop_all())
    raise AssertionError  # the stack suppresses no exceptions


async def _event_stream(feed: Feed, connection: Any) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of the stream. The first line is sent at once, so the client sees that the watch is active.

    A heartbeat is an id alone, from which to resume. Without it, a client with keys that rarely change would resume
    from a revision after which changes are no longer stored.
    """
    yield b": from revision %d on\n\n" % feed.watch.revision
    try:
        async for changes in feed.batches():
            if not changes:
                yield b"id: %d\n\n" % feed.watch.revision
            for chunk in _chunks(changes):
                async for part in _events_of(feed, connection, chunk):
                    yield part
    except KvdError as error:
        yield b"event: error\ndata: %s\n\n" % encode(body_of(error))


def _chunks(changes: list[Change]) -> Iterator[list[Change]]:
    """Yield changes in chunks of bounded size, a large one alone. Empties the list, to free memory early."""
    changes.reverse()
    while changes:
        chunk, size = [changes.pop()], 0
        while changes and not is_large(chunk[0]) and not is_large(changes[-1]) and size < HTTP_LARGE_BYTES:
            chunk.append(changes.pop())
            size += len(chunk[-1].value or b"")
        yield chunk


async def _events_of(feed: Feed, connection: Any, chunk: list[Change]) -> AsyncGenerator[bytes, None]:
    """Yield changes as events: small ones joined, a large one in pieces."""
    if not is_large(chunk[0]):
        yield b"".join([_head_of(change) + encode_small(change_record, change) + EVENT_END for change in chunk])
        return
    change = chunk.pop()
    yield _head_of(change)
    shared = await feed.encode(change_record, change)
    del change  # frees its large value
    with shared.hold(connection) as pieces:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)  # else a fast reader would delay all others
    yield EVENT_END


def _head_of(change: Change) -> bytes:
    """Return the lines before an event's data. The id is the revision, so that Last-Event-ID resumes."""
    return b"id: %d\nevent: %s\ndata: " % (change.revision, change.kind.lower().encode())


async def websocket(socket: WebSocket) -> None:
    """Send each change as a JSON text, and as a heartbeat the revision alone, from which to resume."""
    await serve_watch(socket, change_record, lambda revision: {"revision": revision})


async def unknown_path(socket: WebSocket) -> None:
    await socket.send_denial_response(refusal_response(404, "this path has no WebSocket: use /v1/watch or /subscribe"))


async def serve_watch(socket: WebSocket, format_change: Format, heartbeat: Callable[[int], Any] | None = None) -> None:
    """Send changes in a format, and heartbeats. Errors at the start refuse the handshake."""
    async with AsyncExitStack() as stack:
        try:
            feed = await _start_feed(socket, stack)
        except KvdError as error:
            await socket.send_denial_response(error_response(error))
            return
        await socket.accept(headers=[(name.lower().encode(), text.encode()) for name, text in feed.headers.items()])
        await _while_open(socket, feed.run_until_end(_send_changes(socket, feed, format_change, heartbeat)))


async def _send_changes(
    socket: WebSocket, feed: Feed, format_change: Format, heartbeat: Callable[[int], Any] | None
) -> None:
    """Send changes until the gateway stops, or the watch cannot continue."""
    try:
        async for changes in feed.batches():
            if not changes and heartbeat is not None:
                await socket.send_text(encode(heartbeat(feed.watch.revision)).decode())
            for chunk in _chunks(changes):
                await _send_chunk(socket, feed, format_change, chunk)
    except KvdError as error:
        await socket.close(PRIVATE + status_of(error), str(error)[:REASON_BYTES_MAX])
    else:
        await socket.close(GOING_AWAY, "the gateway is shutting down: connect again, or to another one")


async def _send_chunk(socket: WebSocket, feed: Feed, format_change: Format, chunk: list[Change]) -> None:
    """Send changes, each as a text message."""
    if not is_large(chunk[0]):
        for change in chunk:
            await socket.send_text(encode_small(format_change, change).decode())
        return
    shared = await feed.encode(format_change, chunk.pop())
    with shared.hold(context_of(socket).connection) as pieces:
        await socket.send({"type": "websocket.send", "pieces": pieces})


async def _while_open(socket: WebSocket, sending: Coroutine[Any, Any, None]) -> None:
    """Send until done or until the client disconnects. Messages of the client are ignored."""
    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(_wait_closed(socket))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_all(*tasks)


async def _wait_closed(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
