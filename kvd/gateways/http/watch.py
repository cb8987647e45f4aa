"""GET /v1/watch: changes, complete and in order, as server-sent events or over a WebSocket.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from kvd.commands.entry import Change
from kvd.errors import BadArgument, KvdError
from kvd.gateways.http.bodies import number, one, query
from kvd.gateways.http.failures import body_of, encode, failed, refused, status_of
from kvd.gateways.http.feeds import Feed, Feeds, dropped, record
from kvd.gateways.link import Link
from kvd.limits import INTEGER_MAX

FIELDS = ("prefix", "since", "history")
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter: nginx would hold them back
# How a WebSocket ends (RFC 6455, 7.4): as the status that HTTP would have had, in the range for private use.
PRIVATE, GOING_AWAY = 4000, 1001
REASON_BYTES_MAX = 120
DIGITS_MAX = 19


async def asked(request: HTTPConnection, stack: AsyncExitStack) -> Feed:
    """Return the feed that a request asks for; raises KvdError."""
    link: Link = request.scope["link"]
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

    def __init__(self, feed: Feed, stack: AsyncExitStack) -> None:
        self.feed, self.stack = feed, stack
        super().__init__(lines(feed), headers={**HEADERS, **feed.headers}, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell them."""
        async with self.stack:
            await self.feed.within(super().__call__(scope, receive, send))


async def events(request: Request) -> Response:
    """Tell changes as server-sent events; what cannot be told is refused before the first."""
    if request.method == "HEAD":
        raise HTTPException(405, headers={"Allow": "GET"})
    async with AsyncExitStack() as stack:
        feed = await asked(request, stack)
        return Events(feed, stack.pop_all())
    raise AssertionError  # what `with` swallows: nothing


async def lines(feed: Feed) -> AsyncGenerator[bytes, None]:
    """Yield what goes over the wire. The first comes at once: who reads the headers knows that he misses nothing.

    A sign of life is an id alone, which tells nothing but from where to resume: else a prefix that rests for long
    would be resumed from changes that are not kept any more.
    """
    yield b": from revision %d on\n\n" % feed.watch.revision
    try:
        async for changes in feed.batches():
            yield b"".join(map(event, map(record, changes))) or b"id: %d\n\n" % feed.watch.revision
    except KvdError as error:
        yield b"event: error\ndata: %s\n\n" % encode(body_of(error))


def event(found: dict[str, Any]) -> bytes:
    """Return a change as an event; its revision is the id, so that Last-Event-ID resumes."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (found["revision"], found["kind"].encode(), encode(found))


async def websocket(socket: WebSocket) -> None:
    """Tell changes as texts of JSON, one each; now and then the revision alone, from which to resume."""
    await follow(socket, record, lambda revision: {"revision": revision})


async def nowhere(socket: WebSocket) -> None:
    """Refuse: there is no WebSocket at this path."""
    await socket.send_denial_response(refused(404, "there are WebSockets at /v1/watch and /subscribe"))


async def follow(socket: WebSocket, form: Callable[[Change], Any], sign: Callable[[int], Any] | None = None) -> None:
    """Tell changes in a form, and signs of life; what cannot be told is refused before the first."""
    async with AsyncExitStack() as stack:
        try:
            feed = await asked(socket, stack)
        except KvdError as error:
            await socket.send_denial_response(failed(error))
            return
        await socket.accept(headers=[(name.lower().encode(), text.encode()) for name, text in feed.headers.items()])
        await while_open(socket, feed.within(tell(socket, feed, form, sign)))


async def tell(socket: WebSocket, feed: Feed, form: Callable[[Change], Any], sign: Callable[[int], Any] | None) -> None:
    """Send changes until the gateway ends, or there is no going on."""
    try:
        async for changes in feed.batches():
            told = [form(change) for change in changes] or ([] if sign is None else [sign(feed.watch.revision)])
            for each in told:
                await socket.send_text(encode(each).decode())
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
        await dropped(*tasks)


async def closed(socket: WebSocket) -> None:
    """Return when the client has gone."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
