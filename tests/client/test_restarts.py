"""The client while its daemon is killed, stopped, or behind a network that loses: what it says is what happened."""

import itertools
import signal
import socket
import threading
import time

import pytest
from support.peers import FakeDaemon, Peer, message, messages, read_exactly, shake_hands
from support.proxy import Proxy

from kvd.client import Client
from kvd.errors import KvdError, OutcomeUnknown


def kill_often(daemon, times, pause_s, is_over):
    """Kill the daemon and start it again, several times."""
    for _ in range(times):
        time.sleep(pause_s)
        daemon.kill()
        daemon.spawn()
    is_over.set()


def count_until(is_over, incr):
    """Call until it is over, and twice more; return how often it was done and how often that is unknown."""
    done = unknown = 0
    left = 2
    while left:
        left -= is_over.is_set()
        try:
            incr()
            done += 1
        except OutcomeUnknown:
            unknown += 1
    return done, unknown


@pytest.mark.parametrize("times", [2, pytest.param(70, marks=pytest.mark.long)])
def test_the_counter_lies_between_what_is_done_and_what_may_be(make_daemon, times):
    daemon = make_daemon().start()
    is_over = threading.Event()
    killer = threading.Thread(target=kill_often, args=(daemon, times, 0.3, is_over))
    with daemon.client(timeout=60) as kv:
        kv.set("once", "0")
        killer.start()
        counts = itertools.count()

        def incr():
            if next(counts) % 10 == 0:
                kv.once().incr("once")
            kv.incr("n")

        done, unknown = count_until(is_over, incr)
        killer.join()
        assert done <= int(kv.get("n")) <= done + unknown
        assert int(kv.get("once")) == (done + unknown + 9) // 10


def test_a_network_that_swallows_everything_is_noticed(daemon):
    """The connection stands and nothing passes: a read ends by its deadline, a write is unknown, both work after."""
    with Proxy(daemon.commands) as proxy, Client(proxy.endpoint, timeout=0.5) as kv:
        assert kv.incr("n") == 1
        proxy.mode.is_black_hole = True
        with pytest.raises(OutcomeUnknown):
            kv.incr("n")
        with pytest.raises(KvdError):
            kv.get("n")
        proxy.mode.is_black_hole = False
        proxy.reset_all()
        assert kv.get("n") == b"1"
    with daemon.client() as kv:
        assert kv.get("n") == b"1"


def test_a_stopped_daemon_is_waited_for_with_once(make_daemon):
    daemon = make_daemon().start()
    with daemon.client(timeout=60) as kv:
        kv.ping()
        daemon.signal(signal.SIGSTOP)
        threading.Timer(0.3, lambda: daemon.signal(signal.SIGCONT)).start()
        assert kv.once(b"the token").incr("n") == 1
        assert kv.once(b"the token").incr("n") == 1


def test_a_slow_network_delivers_values_of_every_size(daemon):
    with Proxy(daemon.commands) as proxy, Client(proxy.endpoint, timeout=60) as kv:
        proxy.mode.crumb = 1
        for size in (0, 1, 255, 256, 300):
            kv.set("a", "x" * size)
            assert kv.get("a") == b"x" * size
        proxy.mode.crumb = 9000
        for size in (65_535, 65_536, 65_537):
            kv.set("a", b"y" * size)
            assert kv.get("a") == b"y" * size


def test_the_largest_value_passes_both_ways(daemon):
    value = b"z" * 16 * 2**20
    with daemon.client(timeout=60) as kv:
        kv.set("a", value)
        assert kv.get("a") == value


@pytest.mark.parametrize("taken", [1, 100_000])
def test_a_large_write_that_was_cut_off_is_sent_again(taken):
    """The kernel has not taken its last byte: the daemon has not run it, so it is no case of an unknown outcome."""
    connections = itertools.count()
    value = b"x" * 15 * 2**20
    with FakeDaemon() as fake:

        def script(sock):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            shake_hands(sock)
            if next(connections) == 0:
                read_exactly(sock, taken)
                return
            for parts in messages(sock):
                sock.sendall(message(*parts[:-1], fake.reply(parts[-1])))

        with Peer(script) as peer, Client(peer.endpoint, timeout=60) as kv:
            assert kv.append("a", value) == len(value)
            with kv.pipeline() as pipeline:
                pipeline.append("a", b"x")
            assert pipeline.results == [len(value) + 1]
        with Peer(script) as peer, Client(peer.endpoint, timeout=60) as kv:
            connections = itertools.count()
            with kv.pipeline() as pipeline:
                pipeline.append("b", value)
                pipeline.append("b", b"x")
            assert pipeline.results == [len(value), len(value) + 1]
