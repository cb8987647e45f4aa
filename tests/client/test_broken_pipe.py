"""A daemon that went ends no process: a write to its socket raises an error, also where SIGPIPE is not ignored.

kvsh and other filters restore its default action, so that a closed pipe of their output ends them.
"""

import os
import re
import signal
import socket
from pathlib import Path

import pytest
from support.running import eventually

import kvd.client
from kvd import Client
from kvd.client import Stream
from kvd.commands.server import Ping

SOURCES = Path(kvd.client.__file__).parent


@pytest.fixture
def signals():
    """Return a list of the signals that a broken pipe raises."""
    raised = []
    previous = signal.signal(signal.SIGPIPE, lambda number, _: raised.append(number))
    yield raised
    signal.signal(signal.SIGPIPE, previous)


@pytest.mark.skipif(not hasattr(socket, "MSG_NOSIGNAL"), reason="the platform has no MSG_NOSIGNAL")
@pytest.mark.parametrize("size", [1, 5_000_000])
def test_a_client_whose_socket_breaks_gets_an_error_and_no_signal(daemon, signals, size):
    with Client(daemon.commands, timeout=20) as kv:
        kv.ping()
        kv._pool._idle[0]._socket.shutdown(socket.SHUT_WR)
        kv.set("a", bytes(size))  # over another connection, since the kernel took nothing
        assert len(kv.get("a")) == size
    assert signals == []


@pytest.mark.skipif(not hasattr(socket, "MSG_NOSIGNAL"), reason="the platform has no MSG_NOSIGNAL")
def test_a_stream_whose_socket_breaks_gets_an_error_and_no_signal(daemon, signals):
    with Stream(daemon.commands, timeout=20) as stream:
        stream.send(Ping(), "first")
        eventually(lambda: list(stream.receive(0.01)))
        stream.channel._socket.shutdown(socket.SHUT_WR)
        stream.channel.send(b"\0")
    assert signals == []


def test_the_signal_would_be_seen(signals):
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    os.close(writer)
    assert signals == [signal.SIGPIPE]


def test_each_send_of_the_client_asks_for_no_signal():
    sends = [
        line.strip()
        for source in SOURCES.glob("*.py")
        for line in source.read_text().splitlines()
        if re.search(r"(sock|_socket|_wake_pair\[1\])\.(send|sendall|sendmsg)\(", line)
    ]
    assert len(sends) == 9
    assert [line for line in sends if "NO_SIGNAL" not in line] == []
