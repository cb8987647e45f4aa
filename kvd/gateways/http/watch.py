"""GET /v1/watch: changes, complete and in order, as server-sent events or over a WebSocket.

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
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.http.change_cache import Form, is_large, text_of
from kvd.gateways.http.errors import body_of, encode, error_response, refusal_response, status_of
from kvd.gateways.http.feeds import Feed, Feeds, dropped_error, record
from kvd.gateways.http.request_data import number, one, query
from kvd.limits import HTTP_LARGE_BYTES, INTEGER_MAX

FIELDS = ("prefix", "since", "history")
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter: nginx would hold them back
# How a WebSocket ends (RFC 6455, 7.4): as the status that HTTP would have had, in the range for private use.
PRIVATE, GOING_AWAY = 4000, 1001
REASON_BYTES_MAX = 120
DIGITS_MAX = 19
EVENT_END = b"\n\n"


async def _parse_watch(request: HTTPConnection, stack: AsyncExitStack) -> Feed:
    """Return the feed that a request asks for; raises KvdError."""
    link: Upstream = request.scope["link"]
    feeds: Feeds = request.scope["app"].state.feeds
    found = query(request, *FIELDS)
    since, history = number(found, "since"), one(found, "history")
    if (last := request.headers.get("last-event-id")) is not None:
        if not last.isascii() or not last.isdigit() or len(last) > DIGITS_MAX:
            raise BadArgument("Last-Event-ID is a revision")
        since = int(last)
    if since is not None and since > INTEGER_MAX:
        raise BadArgument("since is a revision, of 63 bits")
    told = None if history is None else history.decode("latin-1")
    return await stack.enter_async_context(feeds.feed(link, found.get("prefix", []), since, told))


class Events(StreamingResponse):
    """A feed as events. Who takes nothing is cut off when the feed ends."""

    def __init__(self, feed: Feed, connection: Any, stack: AsyncExitStack) -> None:
        self.feed, self.stack = feed, stack
        super().__init__(lines(feed, connection), headers={**HEADERS, **feed.headers}, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell them."""
        if scope["http_version"] == "1.0":
            scope["connection"].end_after_answer()
        async with self.stack:
            await self.feed.within(super().__call__(scope, receive, send))


async def events(request: Request) -> Response:
    """Tell changes as server-sent events; what cannot be told is refused before the first."""
    if request.method == "HEAD":
        raise HTTPException(405, headers={"Allow": "GET"})
    async with AsyncExitStack() as stack:
        feed = await _parse_watch(request, stack)
        return Events(feed, request.scope["connection"], stack.pop_all())
    raise AssertionError  # what `with` swallows: nothing


async def lines(feed: Feed, connection: Any) -> AsyncGenerator[bytes, None]:
    """Yield what goes over the wire. The first comes at once: who reads the headers knows that he misses nothing.

    A sign of life is an id alone, which tells nothing but from where to resume: else a prefix that rests for long
    would be resumed from changes that are not kept any more.
    """
    yield b": from revision %d on\n\n" % feed.watch.revision
    try:
        async for changes in feed.batches():
            if not changes:
                yield b"id: %d\n\n" % feed.watch.revision
            for portion in chunks(changes):
                async for part in _events_of(feed, connection, portion):
                    yield part
    except KvdError as error:
        yield b"event: error\ndata: %s\n\n" % encode(body_of(error))


def chunks(changes: list[Change]) -> Iterator[list[Change]]:
    """Yield changes in portions of a bounded size, or a large one alone; the list is empty in the end."""
    changes.reverse()
    while changes:
        portion, size = [changes.pop()], 0
        while changes and not is_large(portion[0]) and not is_large(changes[-1]) and size < HTTP_LARGE_BYTES:
            portion.append(changes.pop())
            size += len(portion[-1].value or b"")
        yield portion


async def _events_of(feed: Feed, connection: Any, portion: list[Change]) -> AsyncGenerator[bytes, None]:
    """Yield changes as events: small ones together, a large one in pieces."""
    if not is_large(portion[0]):
        yield b"".join([_head_of(change) + text_of(record, change) + EVENT_END for change in portion])
        return
    change = portion.pop()
    yield _head_of(change)
    shared = await feed.record(record, change)
    del change  # its value is large
    with shared.hold(connection) as pieces:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)  # else a reader that is fast holds up all others
    yield EVENT_END


def _head_of(change: Change) -> bytes:
    """Return the beginning of an event; its id is the revision, so that Last-Event-ID resumes."""
    return b"id: %d\nevent: %s\ndata: " % (change.revision, change.kind.lower().encode())


async def websocket(socket: WebSocket) -> None:
    """Tell changes as texts of JSON, one each; now and then the revision alone, from which to resume."""
    await follow(socket, record, lambda revision: {"revision": revision})


async def unknown_path(socket: WebSocket) -> None:
    """Refuse: there is no WebSocket at this path."""
    await socket.send_denial_response(refusal_response(404, "there are WebSockets at /v1/watch and /subscribe"))


async def follow(socket: WebSocket, form: Form, sign: Callable[[int], Any] | None = None) -> None:
    """Tell changes in a form, and signs of life; what cannot be told is refused before the first."""
    async with AsyncExitStack() as stack:
        try:
            feed = await _parse_watch(socket, stack)
        except KvdError as error:
            await socket.send_denial_response(error_response(error))
            return
        await socket.accept(headers=[(name.lower().encode(), text.encode()) for name, text in feed.headers.items()])
        await _while_open(socket, feed.within(_send_changes(socket, feed, form, sign)))


async def _send_changes(socket: WebSocket, feed: Feed, form: Form, sign: Callable[[int], Any] | None) -> None:
    """Send changes until the gateway ends, or there is no going on."""
    try:
        async for changes in feed.batches():
            if not changes and sign is not None:
                await socket.send_text(encode(sign(feed.watch.revision)).decode())
            for portion in chunks(changes):
                await send(socket, feed, form, portion)
    except KvdError as error:
        await socket.close(PRIVATE + status_of(error), str(error)[:REASON_BYTES_MAX])
    else:
        await socket.close(GOING_AWAY, "the gateway ends: go on elsewhere, or again")


async def send(socket: WebSocket, feed: Feed, form: Form, portion: list[Change]) -> None:
    """Send changes, each as a text."""
    if not is_large(portion[0]):
        for change in portion:
            await socket.send_text(text_of(form, change).decode())
        return
    shared = await feed.record(form, portion.pop())
    with shared.hold(socket.scope["connection"]) as pieces:
        await socket.send({"type": "websocket.send", "pieces": pieces})


async def _while_open(socket: WebSocket, sending: Coroutine[Any, Any, None]) -> None:
    """Send until that is done or the client goes away. What it says is read and means nothing."""
    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(_wait_closed(socket))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await dropped_error(*tasks)


async def _wait_closed(socket: WebSocket) -> None:
    """Return when the client has gone."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
