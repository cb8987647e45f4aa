"""The daemon, a subscriber, a client that does not read: stopped under load, they harm nobody for long (R13)."""

import contextlib
import itertools
import random
import signal
import subprocess
import sys
import time

import pytest
import zmq
from support.observing import MIB, Crew, memory
from support.running import eventually

from kvd import wire
from kvd.client.stream import Stream
from kvd.commands.base import Ok
from kvd.commands.values import Get, Set
from kvd.errors import Busy, ClientError, NoReply, OutcomeUnknown, Unreachable
from kvd.limits import MEMORY_PRESSURE_BYTES, PUBLISH_QUEUE_MAX, REPLY_QUEUE_MAX
from kvd.server.sockets.command_socket import CommandSocket

SUBSCRIBER = """
import sys, zmq
sock = zmq.Context().socket(zmq.SUB)
sock.connect(sys.argv[1])
sock.set(zmq.SUBSCRIBE, b"")
print(sock.recv(), flush=True)
while True:
    sock.recv_multipart()
"""
MESSAGE_OVERHEAD_BYTES = 500  # of libzmq, for each message of two or four frames, seen from outside


def test_while_the_daemon_is_stopped_clients_are_told_in_time_and_recover(daemon):
    outcomes = []

    def work(kv, number):
        begun = time.monotonic()
        try:
            kv.get("k") if number % 2 else kv.set("k", "x")
        except ClientError as error:
            outcomes.append((type(error), number % 2, time.monotonic() - begun))

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.client(timeout=0.5)) for _ in range(6)]
        crew = stack.enter_context(Crew())
        for number, kv in enumerate(clients):
            crew.add(lambda kv=kv, number=number: work(kv, number))
        time.sleep(0.3)
        daemon.signal(signal.SIGSTOP)
        eventually(lambda: len(outcomes) >= 12)
        daemon.signal(signal.SIGCONT)
        with daemon.client(timeout=60) as kv:
            kv.set("k", "y")
    kinds = {(kind, is_read) for kind, is_read, _ in outcomes}
    assert (NoReply, 1) in kinds
    assert (OutcomeUnknown, 0) in kinds
    assert kinds <= {(NoReply, 1), (OutcomeUnknown, 0), (Unreachable, 0), (Unreachable, 1)}
    assert max(seconds for _, _, seconds in outcomes) < 10  # it is 0.5; other clients and tests run as well


def test_a_client_goes_on_after_the_daemon_was_stopped_for_longer_than_its_heartbeats(daemon):
    with daemon.client(timeout=30) as kv:
        kv.set("k", "1")
        daemon.signal(signal.SIGSTOP)
        with Crew() as crew:
            crew.add(lambda: time.sleep(4) or daemon.signal(signal.SIGCONT) or crew.stop.set())
            assert kv.once().incr("k") == 2
        assert kv.get("k") == b"2"
        assert kv.info("store")["store"]["revision"] == 2


def spawn_subscriber(daemon):
    process = subprocess.Popen([sys.executable, "-c", SUBSCRIBER, daemon.changes], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_stopped_subscriber_takes_a_bounded_part_of_the_daemons_memory(daemon, kv):
    value = random.Random(1).randbytes(1000)
    subscriber = spawn_subscriber(daemon)
    try:
        with kv.pipeline() as pipeline:
            for number in range(20_000):  # the overlay and the cache come to their size
                pipeline.set(f"k{number % 1000}", value)
        before = memory(daemon.process.pid, "VmHWM")
        subscriber.send_signal(signal.SIGSTOP)
        with kv.watch() as watch:
            watch.ready()
            with kv.pipeline() as pipeline:
                for number in range(50_000):
                    pipeline.set(f"k{number % 1000}", value)
            seen = []
            while len(seen) < 50_000:
                seen += [change.revision for change in watch.take()]
        assert seen == list(range(20_001, 70_001)), "another watcher is not concerned"
        growth = memory(daemon.process.pid, "VmHWM") - before
    finally:
        subscriber.kill()
        subscriber.wait()
    print(f"R13: a stopped subscriber, 50,000 changes of 1,000 bytes: {growth / MIB:.0f} MiB")
    # Two queues of that length at most: the other watcher may be behind for a while. And the overlay.
    assert growth < 2 * PUBLISH_QUEUE_MAX * (1000 + MESSAGE_OVERHEAD_BYTES) + 100 * MIB


def ask_without_reading(daemon, count, key=b"k"):
    """Send a number of GETs and read no reply; return the context to be destroyed."""
    context = zmq.Context()
    sock = context.socket(zmq.DEALER)
    sock.set(zmq.RCVHWM, 10)
    sock.set(zmq.SNDHWM, 0)
    sock.connect(daemon.commands)
    body = wire.encode(Get(key))
    for _ in range(count):
        sock.send_multipart([b"", body])
    return context


@pytest.mark.parametrize("size", [1000, 10_000])
def test_a_client_that_reads_no_replies_takes_a_bounded_part_of_the_daemons_memory(daemon, kv, size):
    kv.set("k", random.Random(1).randbytes(size))
    before = memory(daemon.process.pid)
    count = REPLY_QUEUE_MAX + 5_000
    context = ask_without_reading(daemon, count)
    try:
        eventually(lambda: kv.info("traffic")["traffic"]["replies_dropped"] > 0)
        growth = memory(daemon.process.pid) - before
    finally:
        context.destroy(linger=0)
    print(f"R13: {count} GETs of {size} bytes, no reply read: {growth / MIB:.0f} MiB")
    assert growth < REPLY_QUEUE_MAX * (size + MESSAGE_OVERHEAD_BYTES) * 1.3 + 50 * MIB
    with daemon.client() as other:  # a handshake may take too long while the replies are thrown away
        eventually(lambda: answers(other))
        assert len(other.get("k")) == size


def answers(kv):
    with contextlib.suppress(ClientError):
        return kv.ping()
    return None


def test_a_daemon_that_takes_long_for_a_full_queue_is_not_taken_for_dead(tmp_path, context):
    """The pings of a client are not read while its requests wait, and its heartbeats would end the connection."""
    requests = CommandSocket(context)
    requests.socket.bind(f"ipc://{tmp_path}/c")
    stream = Stream(f"ipc://{tmp_path}/c", timeout=30, window=1000)

    def serve():
        time.sleep(3.5)
        for _ in range(1000):
            for request in requests.drain():
                requests.reply(request[0], wire.encode(Ok(1, None)))
            time.sleep(0.001)

    with contextlib.closing(stream), Crew() as crew:
        for _ in range(1000):
            stream.send(Set(b"k", b"x" * 20_000))
        crew.add(lambda: serve() or crew.stop.set())
        outcomes = []
        while stream.in_flight:
            outcomes += [outcome for _, outcome in stream.receive()]
        assert outcomes == [Ok(1, None)] * 1000
    requests.socket.close(0)


@pytest.mark.long
def test_large_replies_that_nobody_reads_are_bounded_in_bytes(daemon, kv):
    """10,000 replies of 1 MB would be 10 GB."""
    kv.set("k", random.Random(1).randbytes(1_000_000))
    context = ask_without_reading(daemon, REPLY_QUEUE_MAX)
    try:
        eventually(lambda: kv.info("traffic")["traffic"]["errors"] > 1000)
        kv.set("small", "x")
        assert kv.get("small") == b"x"
        most = memory(daemon.process.pid, "VmHWM")
    finally:
        context.destroy(linger=0)
    print(f"R13: {REPLY_QUEUE_MAX} GETs of 1 MB, no reply read: {most / MIB:.0f} MiB at most")
    assert most < MEMORY_PRESSURE_BYTES + 200 * MIB
    eventually(lambda: memory(daemon.process.pid) < MEMORY_PRESSURE_BYTES // 2)
    eventually(lambda: is_answered(kv))


def is_answered(kv):
    """Return whether a large reply comes again: the daemon looks at its memory now and then."""
    with contextlib.suppress(Busy):
        return len(kv.get("k")) == 1_000_000
    return False


@pytest.mark.long
def test_a_minute_of_pauses_under_load(daemon):
    chance, unknown, count = random.Random(3), itertools.count(), itertools.count()

    def write(kv):
        try:
            kv.once().incr("n")
        except ClientError:
            next(unknown)
        else:
            next(count)

    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.client(timeout=1)) for _ in range(4)]
        crew = stack.enter_context(Crew())
        for kv in clients:
            crew.add(lambda kv=kv: write(kv))
        while time.monotonic() < begun + 60:
            time.sleep(chance.uniform(0, 1))
            daemon.signal(signal.SIGSTOP)
            time.sleep(chance.choice([0.1, 0.5, 1.5, 4]))
            daemon.signal(signal.SIGCONT)
    okd, lost = next(count), next(unknown)
    with daemon.client(timeout=60) as kv:
        found = int(kv.get("n"))
    print(f"R13: 60 s of pauses: {okd} OK, {lost} given up, {found} in the end")
    assert okd <= found <= okd + lost
