"""A TCP proxy that does to a connection what networks do: late, in crumbs, broken, silent, or with one reply missing.

It listens on 127.0.0.1 and connects to a unix socket or a TCP port. One thread with an asyncio loop; the mode may be
changed at any time from another thread and counts for what comes from then on. `drop_replies` knows as much of ZMTP 3
as it takes to find where messages begin and end: https://rfc.zeromq.org/spec/23/.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

GREETING_BYTES = 64
MORE, LONG, COMMAND = 1, 2, 4
CHUNK_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: the end of the connection is a RST


@dataclass
class Mode:
    """The treatment of passing bytes. `delay_s` before each chunk, `crumb` bytes at once (0: as it comes)."""

    delay_s: float = 0
    crumb: int = 0
    reset_after: int | None = None  # bytes of replies, for each connection
    is_black_hole: bool = False  # takes everything and forwards nothing


class Messages:
    """Cuts what a ZMTP peer sends into messages; the greeting and the commands are pieces of their own."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.greeting_left = GREETING_BYTES
        self.frames = b""

    def feed(self, chunk: bytes) -> list[tuple[bool, bytes]]:
        """Return what is complete, as (whether it is a message, bytes)."""
        self.buffer += chunk
        pieces = []
        while (piece := self.next_piece()) is not None:
            pieces.append(piece)
        return pieces

    def next_piece(self) -> tuple[bool, bytes] | None:
        """Return the next piece if it is complete."""
        if self.greeting_left:  # passed on in pieces, because each side waits for the other's beginning
            piece = self.cut(self.greeting_left)
            self.greeting_left -= len(piece)
            return (False, piece) if piece else None
        while (size := self.frame_size()) is not None:
            flags = self.buffer[0]
            frame = self.cut(size)
            if flags & COMMAND:
                return False, frame
            self.frames += frame
            if not flags & MORE:
                message, self.frames = self.frames, b""
                return True, message
        return None

    def frame_size(self) -> int | None:
        """Return how many bytes the frame at the beginning takes, None if it is not all there."""
        head = 9 if self.buffer and self.buffer[0] & LONG else 2
        if len(self.buffer) < head:
            return None
        size = head + int.from_bytes(self.buffer[1:head], "big")
        return size if len(self.buffer) >= size else None

    def cut(self, size: int) -> bytes:
        """Take at most `size` bytes from the beginning."""
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken


class Proxy:
    """Between clients and a daemon's endpoint. `with Proxy(daemon.commands) as proxy: Client(proxy.endpoint)`."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.mode = Mode()
        self.on_reply: Callable[[bytes], bool] | None = None  # called with each reply; True: drop it and reset
        self.connections = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> Self:
        self.thread.start()
        self.server = self.call(asyncio.start_server(self.serve, "127.0.0.1", 0))
        port = self.server.sockets[0].getsockname()[1]
        self.endpoint = f"tcp://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def close(self) -> None:
        """End the server and all connections."""
        self.server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reset_all(self) -> None:
        """Break all connections that there are."""

        async def reset() -> None:
            for writer in list(self.writers):
                reset_connection(writer)

        self.call(reset())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self.connections += 1
        try:
            up_reader, up_writer = await self.connect()
        except OSError:
            reset_connection(writer)
            return
        self.writers |= {writer, up_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.forward(reader, up_writer))
                group.create_task(self.backward(up_reader, writer))
        except* (OSError, EOFError):
            pass
        finally:
            for each in (writer, up_writer):
                self.writers.discard(each)
                reset_connection(each)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the daemon."""
        if self.target.startswith("ipc://"):
            return await asyncio.open_unix_connection(self.target.removeprefix("ipc://"))
        host, _, port = self.target.removeprefix("tcp://").rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward requests."""
        while True:
            await self.give(await self.chunk(reader), writer)

    async def backward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward replies, up to a reset if there is to be one."""
        messages, passed = Messages(), 0
        while True:
            for is_message, piece in messages.feed(await self.chunk(reader)):
                if is_message and self.on_reply is not None and self.on_reply(piece):
                    raise EOFError
                room = None if self.mode.reset_after is None else max(0, self.mode.reset_after - passed)
                await self.give(piece[:room], writer)
                passed += len(piece)
                if room is not None and len(piece) > room:
                    raise EOFError

    async def chunk(self, reader: asyncio.StreamReader) -> bytes:
        """Return what comes; raises EOFError at the end."""
        chunk = await reader.read(CHUNK_BYTES)
        if not chunk:
            raise EOFError
        return chunk

    async def give(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Pass data on as the mode says."""
        mode = self.mode
        if mode.is_black_hole:
            return
        step = mode.crumb or len(data) or 1
        for at in range(0, len(data), step):
            if mode.delay_s:
                await asyncio.sleep(mode.delay_s)
            writer.write(data[at : at + step])
            await writer.drain()


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, and rudely where that is possible."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
