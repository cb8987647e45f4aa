"""Peers of the client that live in the test's own process: a small daemon, and servers that misbehave as a test says.

They speak ZMTP by code of their own, so that a mistake of the client's is not made on both sides.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self

from kvd import wire
from kvd.commands import Command
from kvd.errors import Refused
from support.fakes import EngineOnDict

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06ROUTER"
MORE, LONG, COMMAND = 1, 2, 4
CHUNK_BYTES = 64 * 1024

Script = Callable[[socket.socket], None]


class Peer:
    """A TCP server on 127.0.0.1; each connection is a thread that runs a script. `accepted` counts them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.accepted = 0
        self.sockets: list[socket.socket] = []
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        for sock in [*self.sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()

    def accept(self) -> None:
        """Accept connections until the listener ends."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.sockets.append(sock)
            self.threads.append(threading.Thread(target=self.run, args=(sock,)))
            self.threads[-1].start()

    def run(self, sock: socket.socket) -> None:
        """Run the script; its end, or an error of the socket, closes the connection."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, EOFError), sock:
            self.script(sock)
        self.sockets.remove(sock)
        self.threads.remove(threading.current_thread())


class FakeDaemon(Peer):
    """A daemon in memory: it runs the commands that need no loop. `commands` are those that it ran."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.bench = EngineOnDict()
        self.commands: list[Command] = []
        self.lock = threading.Lock()

    def serve(self, sock: socket.socket) -> None:
        """Serve one connection."""
        shake_hands(sock)
        for parts in messages(sock):
            sock.sendall(message(*parts[:-1], self.reply(parts[-1])))

    def reply(self, body: bytes) -> bytes:
        """Run a command; return the body of its reply."""
        with self.lock:
            try:
                command = wire.decode_command(body)
                self.commands.append(command)
                return wire.encode(self.bench.reply(command))
            except Refused as error:
                return wire.encode(wire.error_reply(error))

    def value(self, key: bytes) -> bytes | None:
        """Return the value of a key, not by way of a client."""
        entry = self.bench.memory.get(key)
        return None if entry is None else entry.value


def shake_hands(sock: socket.socket) -> None:
    """Do the server's part of the handshake without keys."""
    sock.sendall(GREETING + READY)
    read_exactly(sock, len(GREETING))
    next(frames(sock))


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Return exactly this number of bytes. Raises EOFError."""
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(min(CHUNK_BYTES, size - len(data)))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def frames(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield flags and body of what comes, until the end of the connection."""
    while True:
        flags = read_exactly(sock, 1)[0]
        size = int.from_bytes(read_exactly(sock, 8 if flags & LONG else 1), "big")
        yield flags & ~LONG, read_exactly(sock, size)


def messages(sock: socket.socket) -> Iterator[list[bytes]]:
    """Yield the messages that come, each as its frames; commands such as PONG are left out."""
    parts: list[bytes] = []
    for flags, body in frames(sock):
        if flags & COMMAND:
            continue
        parts.append(body)
        if not flags & MORE:
            yield parts
            parts = []


def frame(flags: int, body: bytes) -> bytes:
    """Return one frame."""
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | LONG,)) + len(body).to_bytes(8, "big") + body


def message(*parts: bytes) -> bytes:
    """Return a message."""
    return b"".join([frame(MORE, part) for part in parts[:-1]]) + frame(0, parts[-1])


def ping(context: bytes = b"") -> bytes:
    """Return a PING."""
    return frame(COMMAND, b"\x04PING\0\0" + context)


def dead_endpoint():
    """Return an endpoint on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"
