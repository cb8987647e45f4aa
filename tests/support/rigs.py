"""A server in this process, driven turn by turn by a plain DEALER."""

import msgspec
import zmq

from kvd.server import Server
from kvd.server.sockets.endpoints import Endpoints
from kvd.storage import Store

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


class InProcessServer:
    """A server that takes a turn when asked to, and a plain DEALER to it."""

    def __init__(self, directory, server=None, **options):
        """`server`: further options of the server; the others are the store's."""
        self.store = Store(directory / "d", **options)
        ends = [f"ipc://{directory}/{name}" for name in "cp"]
        endpoints = Endpoints(ends[:1], ends[1:])
        self.server = Server(self.store, endpoints=endpoints, backups=directory, **server or {})
        self.context = zmq.Context()
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.connect(ends[0])

    def send(self, *commands):
        for command in commands:
            self.dealer.send_multipart([b"", encode(command)])

    def turns(self, count):
        """Turn until `count` replies are here; return them."""
        replies = []
        while len(replies) < count:
            self.server.loop.turn(20)
            while self.dealer.poll(1):
                replies.append(decode(self.dealer.recv_multipart()[-1]))
        return replies

    def ask(self, *command):
        self.send(command)
        return self.turns(1)[0]

    def close(self):
        self.context.destroy(linger=0)
        if not self.server.sockets.context.closed:
            self.server.close()
        self.store.close()
