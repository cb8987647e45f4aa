"""A client of the TCP gateway for the tests: bytes out, replies in."""

import socket
import struct

from kvd.gateways.tcp.protocol import NARROW, encode_request

GET, SET, CLEAR, PING = range(4)


class Chronicle:
    """A connection that speaks the protocol, written from its description and not by the gateway's own code."""

    def __init__(self, gateway, *, wide: bool = False, timeout: float = 60) -> None:
        self.wide = wide
        if gateway.address.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(gateway.address.removeprefix("unix:"))
        else:
            self.sock = socket.create_connection((gateway.host, gateway.port), timeout)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def bytes_of(self, number: int, *strings: bytes) -> bytes:
        head = struct.pack(">BI" if self.wide else ">BH", 0, number)
        return head + b"".join(struct.pack(">I", len(each)) + each for each in strings)

    def send(self, number: int, *strings: bytes) -> None:
        self.sock.sendall(self.bytes_of(number, *strings))

    def exactly(self, count: int) -> bytes:
        while len(self.data) < count:
            more = self.sock.recv(2**20)
            if not more:
                raise EOFError(self.data)
            self.data += more
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def reply(self) -> tuple[int, bytes]:
        header, status, length = struct.unpack(">BBI", self.exactly(6))
        assert header == 0
        return status, self.exactly(length)

    def ask(self, number: int, *strings: bytes) -> tuple[int, bytes]:
        self.send(number, *strings)
        return self.reply()

    def is_closed(self) -> bool:
        """Return whether the gateway closes, and says nothing more."""
        return self.data + self.sock.recv(1) == b""


def request(number: int, *strings: bytes) -> bytes:
    return encode_request(NARROW, number, *strings)
