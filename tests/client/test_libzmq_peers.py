"""A session of kvd.client.zmtp and a socket of libzmq understand each other."""

import socket

import pytest
import zmq

from kvd.client.zmtp import DEALER, SUBSCRIBER, Null, Session

PONG = b"\x04PONG"


@pytest.fixture
def libzmq(context):
    """Return a function that binds a socket of libzmq's; it returns the socket and a session connected to it."""
    connected = []

    def bind(kind, session):
        server = context.socket(kind)
        server.set(zmq.HEARTBEAT_IVL, 50)
        server.set(zmq.HEARTBEAT_TIMEOUT, 60_000)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        connected.append(socket.create_connection(("127.0.0.1", port), timeout=10))
        return server, lambda count: talk(connected[-1], session, count), connected[-1]

    yield bind
    for each in connected:
        each.close()


def talk(sock, session, count):
    """Send and receive until `count` messages have come, or, for 0, until the handshake is over."""
    found = []
    while True:
        sock.sendall(session.take_outgoing())
        if len(found) >= count and session.is_open:
            return found
        found += session.receive(sock.recv(4096))


def test_a_router_of_libzmq_is_a_peer(libzmq):
    session = Session(Null(DEALER), 2**26)
    server, read, sock = libzmq(zmq.ROUTER, session)
    read(0)
    for size in (0, 255, 256, 70_000):
        sock.sendall(session.pack(b"number", b"", b"x" * size))
        identity, *parts = server.recv_multipart()
        assert parts == [b"number", b"", b"x" * size]
        server.send_multipart([identity, b"number", b"", b"y" * size])
        assert read(1) == [[b"number", b"", b"y" * size]]
    while session.receive(sock.recv(4096)) or not session.outgoing:
        pass  # until it pings
    assert PONG in session.take_outgoing()


def test_a_publisher_of_libzmq_is_a_peer(libzmq):
    session = Session(Null(SUBSCRIBER), 2**26, (b"k:a", b"c"))
    server, read, _ = libzmq(zmq.XPUB, session)
    read(0)
    assert [server.recv(), server.recv()] == [b"\x01k:a", b"\x01c"]
    for topic in (b"k:b", b"k:a1", b"c"):
        server.send_multipart([topic, b"body"])
    assert read(2) == [[b"k:a1", b"body"], [b"c", b"body"]]
