"""One connection, and peers that are no daemon, or a bad one: every wait ends, nothing is taken for what it is not."""

import threading
import time

import pytest
from support.peers import GREETING, FakeDaemon, Peer, frame, message, messages, ping, read_exactly, shake_hands
from support.running import eventually

from kvd import wire
from kvd.client import Client
from kvd.client.connection import Connection, ConnectionLost, DeadlineExceeded
from kvd.client.endpoints import parse_endpoint
from kvd.client.readiness import Interest, wait_until_ready
from kvd.commands.base import Ok
from kvd.commands.server import Ping
from kvd.errors import KvdError, NoReply, OutcomeUnknown, Unreachable

OK = wire.encode(Ok(1, b"PONG"))


def open_connection(peer, wait_s=5.0):
    """Return a connection to a peer."""
    [address] = parse_endpoint(peer.endpoint).addresses()
    return Connection.open(address, peer.endpoint, None, time.monotonic() + wait_s)


def soon(wait_s=5.0):
    return time.monotonic() + wait_s


def until_closed(sock):
    """Read until the client closes the connection."""
    while sock.recv(65_536):
        pass


def say(data):
    """Return a script that says something and then nothing more."""

    def script(sock):
        sock.sendall(data)
        until_closed(sock)

    return script


def crumbs(sock):
    """Greet one byte at a time, for longer than anybody waits."""
    for at in range(len(GREETING)):
        sock.sendall(GREETING[at : at + 1])
        time.sleep(0.02)
    until_closed(sock)


def endless_handshake(sock):
    """Send a READY that never ends, a little at a time."""
    sock.sendall(GREETING + b"\x06" + (30 * 2**20).to_bytes(8, "big"))
    while True:
        sock.sendall(b"x")


STRANGERS = {
    "silent": say(b""),
    "half a greeting": say(GREETING[:30]),
    "greeting alone": say(GREETING),
    "garbage": say(bytes(range(256))),
    "HTTP": say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "Redis": say(b"-ERR Protocol error\r\n"),
    "crumbs": crumbs,
    "endless handshake": endless_handshake,
    "endless frame": say(GREETING + b"\x06" + b"\x7f" * 8),
    "keys required": say(GREETING.replace(b"NULL\0", b"CURVE")),
    "hangs up": lambda _: None,
    "hangs up after the greeting": lambda sock: sock.sendall(GREETING),
    "says ERROR": say(GREETING + frame(4, b"\x05ERROR\x03400")),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_daemon_is_unreachable_and_named(name):
    with Peer(STRANGERS[name]) as peer, Client(peer.endpoint, timeout=0.4) as kv:
        with pytest.raises(Unreachable) as caught:
            kv.incr("n")
        assert peer.endpoint in str(caught.value)


def ping_storm(sock):
    """Shake hands, then ping without end and read nothing."""
    shake_hands(sock)
    storm = ping(b"0123456789abcdef") * 1000
    while True:
        sock.sendall(storm)


def endless_reply(sock):
    """Begin a reply of 30 MiB and never end it, a byte at a time."""
    shake_hands(sock)
    next(messages(sock))
    sock.sendall(b"\x01\x00" + b"\x02" + (30 * 2**20).to_bytes(8, "big"))
    while True:
        sock.sendall(b"x")
        time.sleep(0.01)


def endless_message(sock):
    shake_hands(sock)
    next(messages(sock))
    while True:
        sock.sendall(b"\x01\x00" * 1000)


def reply(body):
    """Return a script that answers each request with the same bytes."""

    def script(sock):
        shake_hands(sock)
        for _ in messages(sock):
            sock.sendall(body)

    return script


def mute(sock):
    shake_hands(sock)
    until_closed(sock)


BAD_DAEMONS = {
    "PING storm": ping_storm,
    "endless reply": endless_reply,
    "endless message": endless_message,
    "mute": mute,
    "two replies at once": reply(message(b"", OK) * 2),
    "unknown flags": reply(b"\xf8\x00"),
    "hangs up at once": shake_hands,
}


@pytest.mark.parametrize("name", BAD_DAEMONS)
def test_a_daemon_that_misbehaves_does_not_hold_a_call_for_ever(name):
    with Peer(BAD_DAEMONS[name]) as peer, Client(peer.endpoint, timeout=0.4) as kv:
        with pytest.raises((NoReply, Unreachable)):
            kv.get("n")
        with pytest.raises((OutcomeUnknown, Unreachable)):
            kv.incr("n")


@pytest.mark.parametrize("body", [b"", b"\xc1", b"hello", wire.encode([1, 2, 3, 4, 5]), wire.encode("x")])
def test_a_reply_that_is_none_is_an_error_of_kvd(body):
    with Peer(reply(message(b"", body))) as peer, Client(peer.endpoint, timeout=0.4) as kv, pytest.raises(KvdError):
        kv.get("n")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_a_reply_in_crumbs_is_whole(size):
    """Each crumb is a segment of its own: the peer waits until it has been read."""
    data = ping() + message(b"", OK)

    def script(sock):
        shake_hands(sock)
        for _ in messages(sock):
            for at in range(0, len(data), size):
                sock.sendall(data[at : at + size])
                time.sleep(0.002)

    with Peer(script) as peer, Client(peer.endpoint) as kv:
        assert kv.ping() == b"PONG"
        assert kv.ping() == b"PONG"
        assert peer.accepted == 1


@pytest.mark.parametrize("cut", range(4, 12))
def test_a_short_reply_cut_anywhere_is_whole(cut):
    data = message(b"", OK)

    def script(sock):
        shake_hands(sock)
        for _ in messages(sock):
            sock.sendall(data[: cut - 3])
            time.sleep(0.01)
            sock.sendall(data[cut - 3 :])

    with Peer(script) as peer:
        connection = open_connection(peer)
        assert connection.exchange(wire.encode(Ping()), soon()) == OK
        connection.close()


def test_a_connection_is_fresh_until_something_comes_unasked():
    gates = [threading.Event(), threading.Event()]

    def script(sock):
        shake_hands(sock)
        gates[0].wait(10)
        sock.sendall(ping(b"abc"))
        assert read_exactly(sock, 10) == b"\x04\x08\x04PONGabc"
        gates[1].wait(10)
        sock.sendall(b"\x01")
        until_closed(sock)

    with Peer(script) as peer:
        connection = open_connection(peer)
        assert connection.is_fresh()
        gates[0].set()
        wait_for_input(connection)
        assert connection.is_fresh()
        gates[1].set()
        wait_for_input(connection)
        assert not connection.is_fresh()
        connection.close()


def wait_for_input(connection):
    assert wait_until_ready([Interest(connection.fileno())], 10)


def test_a_ping_storm_ends_the_look_at_an_idle_connection():
    with Peer(ping_storm) as peer:
        connection = open_connection(peer)
        wait_for_input(connection)
        eventually(lambda: not connection.is_fresh())  # between two of its looks the peer may send nothing
        connection.close()


def test_a_closed_connection_is_not_fresh():
    with Peer(shake_hands) as peer:
        connection = open_connection(peer)
        wait_for_input(connection)
        assert not connection.is_fresh()
        with pytest.raises(ConnectionLost, match=r"closed the connection|reset|pipe"):
            connection.exchange(b"x", soon())
        connection.close()


def test_no_reply_in_time_is_told_apart_from_a_break():
    with Peer(mute) as peer:
        connection = open_connection(peer)
        with pytest.raises(DeadlineExceeded):
            connection.exchange(b"x", soon(0.1))
        connection.close()


SIZES = [0, 1, 255, 256, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 1024 * 1024]


def test_values_of_every_size_go_both_ways():
    with FakeDaemon() as daemon, Client(daemon.endpoint, timeout=20) as kv:
        for size in SIZES:
            value = b"x" * size
            kv.set("a", value)
            assert kv.get("a") == value
            with kv.pipeline() as pipeline:
                pipeline.set("b", value)
                pipeline.get("b")
            assert pipeline.results[1] == value
