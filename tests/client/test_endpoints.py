"""How the client's sockets are set up, and where the changes are."""

import pytest
import zmq

from kvd.client import Client, sockets
from kvd.client.sockets import LOST, MONITOR_EVENT, barred, changes_endpoint, dealer, event_in, subscriber
from kvd.errors import NotLetIn
from kvd.limits import RECONNECT_NEVER_MS


@pytest.mark.parametrize(
    ("commands", "told", "dialled"),
    [
        ("tcp://10.0.0.5:7411", "tcp://0.0.0.0:7412", "tcp://10.0.0.5:7412"),
        ("tcp://10.0.0.5:7411", "tcp://*:7412", "tcp://10.0.0.5:7412"),
        ("tcp://[fe80::1]:7411", "tcp://[::]:7412", "tcp://[fe80::1]:7412"),
        ("tcp://10.0.0.5:7411", "tcp://10.0.0.6:7412", "tcp://10.0.0.6:7412"),
        ("tcp://10.0.0.5:7411", "ipc:///run/kvd/changes", "ipc:///run/kvd/changes"),
        ("ipc:///run/kvd/commands", "tcp://0.0.0.0:7412", "tcp://0.0.0.0:7412"),
    ],
)
def test_a_wildcard_host_is_the_host_that_was_dialled(commands, told, dialled):
    assert changes_endpoint(commands, [told]) == dialled


@pytest.mark.parametrize(
    ("event", "lost"),
    [(zmq.EVENT_DISCONNECTED, True), (zmq.EVENT_CLOSED, True), (zmq.EVENT_HANDSHAKE_SUCCEEDED, False)],
)
def test_a_monitor_says_that_a_connection_is_lost(event, lost):
    assert bool(event_in([MONITOR_EVENT.pack(event, 0), b"tcp://127.0.0.1:1"]) & LOST) is lost
    assert bool(LOST & event) is lost


@pytest.fixture
def context():
    made = zmq.Context()
    made.setsockopt(zmq.RCVTIMEO, 10_000)
    yield made
    made.destroy(linger=0)


def test_nothing_is_queued_for_a_daemon_that_is_not_there(context, tmp_path):
    sock = dealer(context, f"ipc://{tmp_path}/none")
    with pytest.raises(zmq.Again):
        sock.send(b"", zmq.NOBLOCK)
    assert [sock.get(option) for option in (zmq.LINGER, zmq.IMMEDIATE, zmq.HEARTBEAT_TIMEOUT)] == [0, 1, 2000]


def test_a_subscriber_asks_for_the_control_topic_last_and_never_reconnects_by_itself(context, tmp_path):
    publisher = context.socket(zmq.XPUB)
    publisher.bind(f"ipc://{tmp_path}/p")
    sock = subscriber(context, f"ipc://{tmp_path}/p", [b"b", b"a"])
    assert [publisher.recv() for _ in range(3)] == [b"\x01kb", b"\x01ka", b"\x01c"]
    assert sock.get(zmq.RECONNECT_IVL) == RECONNECT_NEVER_MS


def test_what_had_come_is_read_whole_after_the_connection_broke(context, tmp_path, monkeypatch):
    monkeypatch.setattr(sockets, "RECEIVE_QUEUE_MAX", 1_000)
    others = zmq.Context()
    publisher = others.socket(zmq.XPUB)
    publisher.bind(f"ipc://{tmp_path}/p")
    sock = subscriber(context, f"ipc://{tmp_path}/p", [b""])
    assert [publisher.recv() for _ in range(2)] == [b"\x01k", b"\x01c"]
    for _ in range(900):  # libzmq looks for news from its I/O thread once in 100 frames: at a body
        publisher.send_multipart([b"k", b"body"])
    events = sockets.monitor(sock)
    publisher.close(-1)
    others.term()
    while not event_in(events.recv_multipart()) & LOST:
        pass
    assert {tuple(sock.recv_multipart()) for _ in range(900)} == {(b"k", b"body")}
    sock.disable_monitor()


def test_a_signal_does_not_keep_a_monitor_from_being_made():
    class Interrupted:
        calls = 0

        def get_monitor_socket(self, events):
            self.calls += 1
            if self.calls < 3:
                raise InterruptedError
            return events

    assert sockets.monitor(Interrupted()) == sockets.WATCHED_EVENTS


def test_a_monitor_tells_that_a_connection_came_and_went(context, tmp_path):
    sock = dealer(context, f"ipc://{tmp_path}/p")  # it tries again, so the monitor is there before the connection
    events = sockets.monitor(sock)
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{tmp_path}/p")
    while event_in(events.recv_multipart()) & LOST:
        pass  # an attempt before the bind
    router.close()
    assert event_in(events.recv_multipart()) & LOST
    sock.disable_monitor()


@pytest.mark.parametrize(
    ("commands", "dialled"), [("tcp://h:1", "tcp://h:2"), ("ipc:///c", "ipc:///p"), ("ws://h", "ipc:///p")]
)
def test_of_several_endpoints_the_one_like_that_for_commands_is_dialled(commands, dialled):
    assert changes_endpoint(commands, ["ipc:///p", "tcp://*:2"]) == dialled


def test_a_unix_socket_that_is_not_for_us_is_told_with_its_group(tmp_path, monkeypatch):
    path = tmp_path / "s"
    assert barred("tcp://h:1") == barred(f"ipc://{path}") == ""
    path.touch()
    assert barred(f"ipc://{path}") == ""
    monkeypatch.setattr(sockets.os, "access", lambda path, mode: False)
    group = path.group()
    expected = f"{path} is for those in the group {group}: `usermod -aG {group} NAME` as root, then log in again"
    assert barred(f"ipc://{path}") == expected
    with Client(f"ipc://{path}", timeout=0.1) as kv, pytest.raises(NotLetIn, match=r"GET: .* is for those in the gr"):
        kv.get("a")
