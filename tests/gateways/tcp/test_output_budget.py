"""What a TCP connection owes its client, and when he is ended for taking nothing; the clock is an argument."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
import uvloop
from support.chronicle import GET, request

from kvd.commands.base import Ok
from kvd.gateways.tcp.connection import Connection
from kvd.gateways.tcp.output_budget import SILENCE_S, OutputBudget
from kvd.gateways.tcp.protocol import NARROW
from kvd.limits import KIB, MIB, TCP_REPLIES_BYTES_MAX, VALUE_BYTES_MAX


class Total:
    charged = 0

    def release(self, size):
        self.charged -= size


class Transport:
    """One with bytes in its buffer, and a socket of which nobody reads."""

    def __init__(self, sock, waiting):
        self.sock, self.waiting, self.is_aborted = sock, waiting, False

    def get_write_buffer_size(self):
        return self.waiting

    def get_extra_info(self, _):
        return self.sock

    def abort(self):
        self.is_aborted = True


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def connection(transport):
    gateway = SimpleNamespace(dialect=NARROW, loop=SimpleNamespace(time=lambda: 0.0), charged=0)
    made = Connection(gateway)
    made.transport = transport
    return made


def test_a_client_who_takes_nothing_is_ended(pair):
    transport = Transport(pair[0], 100_000)
    client = connection(transport)
    client.check_timeouts(1.0)
    client.check_timeouts(1.0 + SILENCE_S - 0.1)
    assert not transport.is_aborted
    client.check_timeouts(1.0 + SILENCE_S)
    assert transport.is_aborted


@pytest.mark.parametrize("how", ["of the transport's", "of the kernel's", "all that there was"])
def test_a_client_who_takes_something_is_not(pair, how):
    ours, theirs = pair
    ours.sendall(b"x" * 50_000)
    transport = Transport(ours, 100_000)
    client = connection(transport)
    client.check_timeouts(1.0)
    if how == "of the kernel's":
        theirs.recv(50_000)
    else:
        transport.waiting = 50_000 if how == "of the transport's" else 0
    client.check_timeouts(SILENCE_S)
    client.check_timeouts(SILENCE_S + 2)
    assert not transport.is_aborted


def test_a_socket_that_is_closed_meanwhile(pair):
    pair[0].close()
    client = connection(Transport(pair[0], 100))
    client.check_timeouts(1.0)
    assert not client.transport.is_aborted


def test_a_reply_counts_as_the_largest_there_was_and_then_as_itself():
    total = Total()
    debt = OutputBudget(total, 0.0)
    assert debt.expected == VALUE_BYTES_MAX
    debt.charge(debt.expected)
    assert debt.is_full
    debt.observe(100)
    debt.charge(100 - VALUE_BYTES_MAX)
    assert (debt.charged, total.charged, debt.expected, debt.is_full) == (100, 100, 100, False)
    debt.on_sent(60, is_choked=True)
    assert total.charged == 100
    debt.on_sent(40, is_choked=False)
    assert (debt.charged, total.charged) == (0, 0)


def test_only_what_is_larger_than_expected_finds_no_room():
    total = Total()
    debt = OutputBudget(total, 0.0)
    total.charged = TCP_REPLIES_BYTES_MAX + MIB
    assert debt.has_capacity(MIB, MIB)
    assert not debt.has_capacity(MIB + 1, MIB)
    total.charged = TCP_REPLIES_BYTES_MAX - MIB
    assert debt.has_capacity(MIB, 0)
    assert not debt.has_capacity(MIB + 1, 0)


class Alone(SimpleNamespace):
    """A gateway with one connection, whose requests nobody answers."""

    has_capacity = True

    def __init__(self):
        super().__init__(
            dialect=NARROW, loop=asyncio.get_running_loop(), charged=0, in_flight=0, bytes=0, waiting_for_budget={}
        )
        self.slots = []
        self.asked = asyncio.Event()

    def add(self, _):
        return True

    def remove(self, _):
        pass

    def reserve(self, _):
        return True

    def write_soon(self, connection):
        connection.write()

    def coalesce(self, slot):
        self.slots.append(slot)
        self.asked.set()

    def submit(self, _, slot):
        self.slots.append(slot)

    def release(self, size):
        self.charged -= size


def taken_by_the_kernel():
    """Return how many bytes of one large write a socket takes while nobody reads."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        return ours.send(bytes(16 * MIB))


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("remove", [1, 20 * KIB, 200 * KIB])
def test_a_reply_of_which_the_client_has_not_taken_the_last_bytes_counts_as_a_whole(factory, remove):
    """uvloop, and asyncio from Python 3.12, keep the whole value until then; 64 KiB remove were no longer counted."""

    async def scenario():
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        theirs.settimeout(0)
        loop, gateway = asyncio.get_running_loop(), Alone()
        transport, _ = await loop.connect_accepted_socket(lambda: Connection(gateway), ours)
        await loop.sock_sendall(theirs, request(GET, b"v"))
        await gateway.asked.wait()
        value = bytes(taken_by_the_kernel() + remove)
        gateway.slots[0].set_result(Ok(1, value))
        assert gateway.charged > len(value)
        with theirs:
            while gateway.charged:
                await loop.sock_recv(theirs, MIB)
            transport.abort()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(scenario(), 30))
