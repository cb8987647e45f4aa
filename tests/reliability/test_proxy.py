"""Between client and daemon things go wrong: no reply to the wrong request, a dead peer is seen, all recovers (R14)."""

import random
import threading
import time

import pytest
from support.proxy import Messages, Mode, Proxy

from kvd.client import Client, Stream
from kvd.commands.server import Ping
from kvd.commands.values import Get
from kvd.errors import ClientError

KEYS = 200
DEAD_S = 3  # three heartbeats


@pytest.fixture
def proxy(daemon):
    with Proxy(daemon.commands) as made:
        yield made


def value_of(number):
    """Return a value that contains its key; some are longer than a packet."""
    return b"value of key:%d " % number * (1 + number % 7 * 1000)


@pytest.fixture
def initial_keys(kv):
    for number in range(KEYS):
        kv.set(b"key:%d" % number, value_of(number))
    return kv


def read_pipelined(endpoint, chance, count, timeout=60):
    """Read keys with many in flight; return how many were answered. Each answer has to be its key's."""
    numbers = [chance.randrange(KEYS) for _ in range(count)]
    client = Client(endpoint, timeout=timeout)
    pipeline = client.pipeline()
    for number in numbers:
        pipeline.get(b"key:%d" % number)
    try:
        pipeline.close()
    except ClientError:
        pass
    finally:
        client.close()
    answered = [
        (n, found) for n, found in zip(numbers, pipeline.results, strict=False) if not isinstance(found, ClientError)
    ]
    assert all(found == value_of(number) for number, found in answered)
    return len(answered)


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        pytest.param(Mode(), 1000, id="as it comes"),
        pytest.param(Mode(delay_s=0.01), 50, id="late"),
        pytest.param(Mode(crumb=1), 7, id="one byte at a time"),
        pytest.param(Mode(crumb=1000, delay_s=0.0005), 40, id="in crumbs"),
    ],
)
def test_each_reply_is_of_its_request(initial_keys, proxy, mode, count):
    proxy.mode = mode
    assert read_pipelined(proxy.endpoint, random.Random(1), count) == count


@pytest.mark.parametrize("reset_after", [0, 1, 64, 150, 5_000, 100_000])
def test_a_reset_in_the_middle_of_a_message_is_recovered_from(initial_keys, proxy, reset_after):
    proxy.mode = Mode(reset_after=reset_after)
    done = []
    reading = threading.Thread(target=lambda: done.append(read_pipelined(proxy.endpoint, random.Random(2), 200)))
    reading.start()
    while proxy.connections < 2:  # the first was reset, and the reads are sent again
        time.sleep(0.005)
    proxy.mode = Mode()
    reading.join()
    assert done == [200]


def test_a_reply_that_comes_after_it_was_given_up_is_nobody_elses(initial_keys, proxy):
    with Stream(proxy.endpoint, timeout=60) as stream:
        stream.answer(Ping())
        given_up = 0
        for number in range(40):
            stream.timeout = 0.02 if number % 2 == 0 else 20
            proxy.mode = Mode(delay_s=0.06) if number % 2 == 0 else Mode()
            try:
                assert stream.answer(Get(b"key:%d" % number)).result == value_of(number)
            except ClientError:
                given_up += 1
    assert given_up > 0


def test_a_black_hole_is_seen_within_three_heartbeats(initial_keys, proxy):
    with Client(proxy.endpoint, timeout=60) as kv:
        assert kv.get("key:1") == value_of(1)
        proxy.mode = Mode(is_black_hole=True)
        begun = time.monotonic()

        def heal():
            while proxy.connections < 2:  # the client has given the first one up
                time.sleep(0.005)
            seen.append(time.monotonic() - begun)
            proxy.mode = Mode()

        seen = []
        healer = threading.Thread(target=heal)
        healer.start()
        assert kv.get("key:2") == value_of(2)
        healer.join()
        assert seen[0] < 4 * DEAD_S  # it is 3 s; a slow machine may take longer to look


def test_the_modes_one_after_the_other_by_chance(initial_keys, proxy):
    some_modes(proxy, 6, seed=5)


@pytest.mark.long
def test_the_modes_for_minutes(initial_keys, proxy):
    some_modes(proxy, 400, seed=time.time_ns() % 1_000_000)


def some_modes(proxy, rounds, seed):
    chance = random.Random(seed)
    begun, answered = time.monotonic(), 0
    for _ in range(rounds):
        proxy.mode = chance.choice(
            [
                Mode(delay_s=chance.uniform(0, 0.01)),
                Mode(crumb=chance.randrange(1, 5000)),
                Mode(reset_after=chance.randrange(300_000)),
                Mode(is_black_hole=True),
            ]
        )
        answered += read_pipelined(proxy.endpoint, chance, 100, timeout=0.5)
        proxy.mode = Mode()
        assert read_pipelined(proxy.endpoint, chance, 100) == 100
    seconds = time.monotonic() - begun
    print(f"R14, seed {seed}: {rounds} modes in {seconds:.0f} s, {answered} of {100 * rounds} answered, all their own")


def test_messages_are_found_however_they_are_cut():
    greeting, command = bytes(64), b"\x04\x03abc"
    short, long = b"\x01\x01a\x00\x02bc", b"\x02" + (300).to_bytes(8, "big") + b"x" * 300
    stream = greeting + command + short + long
    for step in (1, 7, 1000):
        messages = Messages()
        pieces = [piece for at in range(0, len(stream), step) for piece in messages.feed(stream[at : at + step])]
        assert b"".join(piece for _, piece in pieces) == stream
        assert pieces[-3:] == [(False, command), (True, short), (True, long)]
