"""A connection that never blocks: it dials, sends what the kernel takes, and says when it is lost."""

import socket
import time

import pytest
from support.interrupts import Interrupt, interrupt
from support.peers import GREETING, FakeDaemon, Peer, message, messages, ping, read_exactly, shake_hands

from kvd.client.channel import Channel
from kvd.client.connection import make_session
from kvd.client.endpoints import Address, parse_endpoint
from kvd.client.readiness import Interest, wait_until_ready
from kvd.client.zmtp import ProtocolError


def dial(*addresses, **options):
    return Channel(addresses, lambda: make_session(None), **options)


def address_of(peer):
    return parse_endpoint(peer.endpoint).addresses()[0]


def dead_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Address(socket.AF_INET, listener.getsockname(), "dead")


def advance(channel, holds):
    """Advance whenever the descriptor is ready, until something holds; return the messages that came."""
    found, limit = [], time.monotonic() + 20
    while not holds(found):
        assert time.monotonic() < limit
        if channel.fileno() >= 0:
            wait_until_ready([Interest(channel.fileno(), channel.wants_write)], 0.05)
        found += channel.advance()
    return found


@pytest.fixture
def fake():
    with FakeDaemon() as daemon:
        yield daemon


def test_it_opens_and_carries_messages(fake):
    channel = dial(address_of(fake))
    assert not channel.is_open
    assert channel.due is not None
    advance(channel, lambda _: channel.is_open)
    assert channel.due is None
    end = channel.send(channel.session.pack(b"1", b"", b"nonsense"))
    [[number, empty, _]] = advance(channel, len)
    assert (number, empty, channel.sent_bytes) == (b"1", b"", end)
    channel.close()
    channel.close()
    assert channel.fileno() == -1


def test_the_next_address_is_tried_and_each_failure_is_kept(fake):
    with Peer(lambda sock: sock.sendall(b"HTTP/1.1 400\r\n\r\n")) as stranger:
        channel = dial(dead_address(), address_of(stranger), address_of(fake))
        advance(channel, lambda _: channel.is_open)
        reasons = [reason for _, reason in channel.failures]
        assert reasons == ["Connection refused", "the peer does not speak ZeroMQ"]
        channel.close()


def test_it_is_lost_when_no_address_is_left():
    with Peer(lambda sock: sock.sendall(GREETING.replace(b"NULL\0", b"CURVE"))) as peer:
        channel = dial(dead_address(), address_of(peer))
        advance(channel, lambda _: channel.is_lost)
        assert isinstance(channel.problem, ProtocolError)
        assert (channel.is_open, channel.fileno(), len(channel.failures)) == (False, -1, 2)


def test_an_attempt_ends_in_time():
    with Peer(lambda sock: read_exactly(sock, 1000)) as peer:
        channel = dial(address_of(peer), attempt_s=0.05)
        advance(channel, lambda _: channel.is_lost)
        assert [reason for _, reason in channel.failures] == ["no answer in time"]


def test_what_came_before_the_end_is_returned(fake):
    def script(sock):
        shake_hands(sock)
        next(messages(sock))
        sock.sendall(message(b"1", b"", b"last words"))

    with Peer(script) as peer:
        channel = dial(address_of(peer))
        advance(channel, lambda _: channel.is_open)
        channel.send(channel.session.pack(b"1", b"", b"body"))
        assert advance(channel, lambda _: channel.is_lost) == [[b"1", b"", b"last words"]]
        assert channel.reason == "the daemon closed the connection"


def test_what_the_kernel_does_not_take_waits_and_pings_are_answered_behind_it():
    received = []
    body = b"x" * 6_000_000

    def script(sock):
        shake_hands(sock)
        sock.sendall(ping(b"context"))
        time.sleep(0.05)
        received.append(next(messages(sock)))
        sock.sendall(message(b"1", b"", b"body"))
        read_exactly(sock, 10**9)

    with Peer(script) as peer:
        channel = dial(address_of(peer))
        advance(channel, lambda _: channel.is_open)
        end = channel.send(channel.session.pack(b"1", b"", body))
        assert channel.wants_write
        assert channel.sent_bytes < end
        assert advance(channel, len) == [[b"1", b"", b"body"]]
        assert received == [[b"1", b"", body]]
        channel.close()


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_after_an_interrupt_within_a_call_the_connection_is_given_up(fake, step):
    """Nothing more is sent over a connection after an interrupted send: how much the kernel took is unknown."""
    at, where = 1, ""
    while where is not None:
        channel = dial(address_of(fake))
        advance(channel, lambda _, channel=channel: channel.is_open)
        data = channel.session.pack(b"1", b"", b"body")
        where = interrupt(lambda data=data, channel=channel: channel.send(data), at, Interrupt())
        if channel._is_busy:
            channel.advance()
            assert channel.is_lost
            assert channel.reason == "a call was interrupted"
        channel.close()
        at += step
