"""GET /v1/watch: changes, complete and in order, as server-sent events or over a WebSocket.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from kvd.commands.entry import Change
from kvd.errors import BadArgument, KvdError
from kvd.gateways.http.bodies import number, one, query
from kvd.gateways.http.failures import body_of, encode, failed, status_of
from kvd.gateways.http.feeds import Feed, Feeds, record
from kvd.gateways.link import Link
from kvd.limits import INTEGER_MAX

FIELDS = ("prefix", "since", "history")
EVENTS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter: nginx would hold them back
# How a WebSocket ends (RFC 6455, 7.4): as the status that HTTP would have had, in the range for private use.
PRIVATE, GOING_AWAY = 4000, 1001
REASON_BYTES_MAX = 120


async def asked(request: HTTPConnection, stack: AsyncExitStack) -> Feed:
    """Return the feed that a request asks for; raises KvdError."""
    link: Link = request.scope["link"]
    feeds: Feeds = request.scope["app"].state.feeds
    found = query(request, *FIELDS)
    since, history = number(found, "since"), one(found, "history")
    if (last := request.headers.get("last-event-id")) is not None:
        if not last.isascii() or not last.isdigit():
            raise BadArgument("Last-Event-ID is a revision")
        since = int(last)
    if since is not None and since > INTEGER_MAX:
        raise BadArgument("since is a revision, of 63 bits")
    told = None if history is None else history.decode("latin-1")
    return await stack.enter_async_context(feeds.feed(link, found.get("prefix", []), since, told))


async def events(request: Request) -> Response:
    """Tell changes as server-sent events; what cannot be told is refused before the first."""
    async with AsyncExitStack() as stack:
        feed = await asked(request, stack)
        stream = told(feed, stack.pop_all())
        # The first part comes at once: the headers are sent with it, and who reads them knows that he misses nothing.
        return StreamingResponse(stream, headers={**EVENTS, **feed.headers}, media_type="text/event-stream")
    raise AssertionError  # what `with` swallows: nothing


async def told(feed: Feed, stack: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    """Yield what goes over the wire."""
    async with stack:
        yield b": from revision %d on\n\n" % feed.watch.revision
        try:
            async for changes in feed.batches():
                yield b"".join(map(event, map(record, changes))) or b": still here\n\n"
        except KvdError as error:
            yield b"event: error\ndata: %s\n\n" % encode(body_of(error))


def event(found: dict[str, Any]) -> bytes:
    """Return a change as an event; its revision is the id, so that Last-Event-ID resumes."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (found["revision"], found["kind"].encode(), encode(found))


async def websocket(socket: WebSocket) -> None:
    """Tell changes as texts of JSON, one each; the sign of life between them is WebSocket's own ping."""
    await follow(socket, record)


async def follow(socket: WebSocket, form: Callable[[Change], Any]) -> None:
    """Tell changes in a form; what cannot be told is refused before the first."""
    async with AsyncExitStack() as stack:
        try:
            feed = await asked(socket, stack)
        except KvdError as error:
            await socket.send_denial_response(failed(error))
            return
        await socket.accept(headers=[(name.lower().encode(), text.encode()) for name, text in feed.headers.items()])
        await while_open(socket, tell(socket, feed, form))


async def tell(socket: WebSocket, feed: Feed, form: Callable[[Change], Any]) -> None:
    """Send changes until the gateway ends, or there is no going on."""
    try:
        async for changes in feed.batches():
            for change in changes:
                await socket.send_text(encode(form(change)).decode())
    except KvdError as error:
        await socket.close(PRIVATE + status_of(error), str(error)[:REASON_BYTES_MAX])
    else:
        await socket.close(GOING_AWAY, "the gateway ends: go on elsewhere, or again")


async def while_open(socket: WebSocket, sending: Coroutine[Any, Any, None]) -> None:
    """Send until that is done or the client goes away. What it says is read and means nothing."""
    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(closed(socket))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await task


async def closed(socket: WebSocket) -> None:
    """Return when the client has gone."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
