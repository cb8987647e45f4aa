"""Hostile peers: too many, half-open, garbage, too large. A good client is answered all the while (S3, S4)."""

import contextlib
import socket
import time
from pathlib import Path

import msgspec
import pytest
import zmq
from support.doors import cpu_seconds
from support.running import eventually

from kvd.errors import ClientError
from kvd.limits import FRAME_BYTES_MAX, HANDSHAKE_MS_MAX

MIB = 1024 * 1024
GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01"
FEW_DESCRIPTORS = ["sh", "-c", 'ulimit -n 200; exec "$@"', "sh"]


def raw(daemon, endpoint="commands"):
    """Return a connected plain unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(getattr(daemon, endpoint).removeprefix("ipc://"))
    return sock


def count_connections(kv):
    """Return how many connections the daemon says it has."""
    traffic = kv.info("traffic")["traffic"]
    return traffic["clients"] + traffic["watchers"]


def rests(daemon):
    """Return whether a daemon that nobody asks anything uses little of the processor."""
    before = cpu_seconds(daemon)
    time.sleep(1)
    return cpu_seconds(daemon) - before < 0.5


def peak_mib(daemon):
    """Return the most memory a daemon has had."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def is_closed(sock):
    """Return whether the other side has ended a connection, after whatever it sent."""
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        while sock.recv(65536):
            pass
    return True


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n" * 10, b"\x00" * 200, b"\xff" * 200, bytes(range(256))])
def test_garbage_is_hung_up_on(access_daemon, garbage):
    with access_daemon.client() as kv:
        socks = [raw(access_daemon, endpoint) for endpoint in ("commands", "changes") for _ in range(20)]
        for sock in socks:
            sock.sendall(garbage)
        assert kv.ping() == b"PONG"
        assert all(is_closed(sock) for sock in socks)
        for sock in socks:
            sock.close()
        eventually(lambda: kv.info("traffic")["traffic"]["clients"] == 1)
        assert rests(access_daemon)


def test_five_hundred_half_open_handshakes_hold_nobody_up_and_end(access_daemon):
    socks = [raw(access_daemon) for _ in range(500)]
    for number, sock in enumerate(socks):
        sock.sendall(GREETING[: number % len(GREETING)])
    with access_daemon.client() as kv:
        waits = []
        for _ in range(300):
            begun = time.monotonic()
            kv.set("a", "1")
            waits.append(time.monotonic() - begun)
        assert sorted(waits)[296] < 0.25
        assert rests(access_daemon)
        time.sleep(HANDSHAKE_MS_MAX / 1000)
        eventually(lambda: kv.info("traffic")["traffic"]["clients"] == 1)
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("endpoint", ["commands", "changes"])
def test_beyond_the_bound_connections_are_refused_and_those_that_stand_go_on(make_daemon, endpoint):
    daemon = make_daemon()
    daemon.before = FEW_DESCRIPTORS
    daemon.start()
    with daemon.client() as kv, kv.watch() as watch:
        kv.ping()
        watch.ready()
        for _ in range(3):
            socks = []
            for _ in range(150):
                with contextlib.suppress(OSError):
                    socks.append(raw(daemon, endpoint))
            kv.set("a", "1")
            assert next(watch).key == b"a"
            eventually(lambda: count_connections(kv) <= 100)
            assert rests(daemon)
            for sock in socks:
                sock.close()
            eventually(lambda: count_connections(kv) == 3)
        with daemon.client() as another:
            assert another.get("a") == b"1"
        assert kv.info("traffic")["traffic"]["connections_refused"] >= 3 * 40
    log = daemon.log.read_text()
    assert log.count("event=connections_full limit=100") == 3
    assert log.count("event=connections_room") == 3


def test_a_new_client_is_refused_while_there_is_no_room_and_comes_in_after(make_daemon):
    daemon = make_daemon()
    daemon.before = FEW_DESCRIPTORS
    daemon.start()
    with daemon.client() as kv:
        socks = [raw(daemon) for _ in range(99)]
        eventually(lambda: kv.info("traffic")["traffic"]["clients"] == 100)
        with daemon.client(timeout=0.5) as late:
            with pytest.raises(ClientError):
                late.ping()
            for sock in socks:
                sock.close()
            eventually(lambda: kv.info("traffic")["traffic"]["clients"] < 50)
        with daemon.client() as late:
            assert late.ping() == b"PONG"


def many_small_frames(daemon, count, mib):
    """Send one message of many frames; the daemon drops it, and its memory stays within a limit in MiB."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.set(zmq.LINGER, 0)
    dealer.set(zmq.RCVTIMEO, 60_000)
    dealer.connect(daemon.commands)
    for _ in range(count):
        dealer.send(b"x", zmq.SNDMORE)
    dealer.send(b"x")
    dealer.send_multipart([b"", msgspec.msgpack.encode(["INFO", "traffic"])])
    reply = msgspec.msgpack.decode(dealer.recv_multipart()[-1])
    context.destroy(linger=0)
    assert reply[2]["traffic"]["malformed"] == 1
    assert peak_mib(daemon) < mib
    with daemon.client() as kv:
        assert kv.ping() == b"PONG"
    assert rests(daemon)


def test_a_message_of_many_small_frames_is_dropped(daemon):
    many_small_frames(daemon, 100_000, 200)


@pytest.mark.long
def test_a_message_of_a_million_small_frames_is_dropped(daemon):
    many_small_frames(daemon, 1_000_000, 400)


def test_a_frame_over_the_limit_ends_its_connection_and_takes_no_room(daemon, kv):
    before = peak_mib(daemon)
    sock = raw(daemon)
    mechanism = b"NULL".ljust(20, b"\0") + b"\0" * 32
    sock.sendall(GREETING[:10] + b"\x03\x00" + mechanism)
    ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
    sock.sendall(b"\x04" + bytes([len(ready)]) + ready)
    sock.sendall(b"\x02" + (FRAME_BYTES_MAX + 1).to_bytes(8, "big"))
    assert is_closed(sock)
    assert kv.ping() == b"PONG"
    assert peak_mib(daemon) - before < 20
    assert rests(daemon)


@pytest.mark.parametrize("length", [4087, 4096])
def test_the_longest_prefix_can_be_watched(make_daemon, doors, length):
    for daemon in (make_daemon(), make_daemon(*doors.options)):
        daemon.keys = doors.keys("root") if daemon.options else None
        daemon.start()
        with daemon.client() as kv, kv.watch(b"x" * length) as watch:
            watch.ready()
            kv.set(b"x" * 4096, "1")
            assert next(watch).value == b"1"


@pytest.mark.long
def test_ten_thousand_connections_and_more_are_borne(access_daemon):
    """As many as the descriptors of this process allow."""
    socks = []
    with contextlib.suppress(OSError):
        socks += [raw(access_daemon) for _ in range(12_000)]
    with access_daemon.client() as kv:
        for _ in range(100):
            kv.set("a", "1")
    assert access_daemon.process.poll() is None
    for sock in socks:
        sock.close()
