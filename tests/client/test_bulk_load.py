"""Pairs by the million: portions, what is in flight, what an error leaves."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd import AsyncClient, Client
from kvd.client import bulk_load as module
from kvd.client.bulk import BulkWindow, WindowLimits
from kvd.client.bulk_load import (
    BYTES_IN_FLIGHT_MAX,
    CHUNK_BYTES_MAX,
    CHUNKS_IN_FLIGHT_MAX,
    PAIRS_MAX,
    split_pairs,
)
from kvd.commands.base import Error, Ok
from kvd.errors import BadArgument, OutcomeUnknown, Unreachable
from kvd.limits import MIB

texts = st.binary(max_size=9) | st.text(max_size=9)


def as_bytes(text):
    return text.encode() if isinstance(text, str) else text


@given(st.lists(st.tuples(texts, texts)), st.integers(1, 5), st.integers(1, 50))
def test_portions_are_the_pairs_in_their_order_within_bounds(pairs, pairs_max, bytes_max):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAIRS_MAX", pairs_max)
        patch.setattr(module, "CHUNK_BYTES_MAX", bytes_max)
        found = list(split_pairs(iter(pairs)))
    assert [pair for portion in found for pair in portion.command.pairs] == [tuple(map(as_bytes, p)) for p in pairs]
    for portion in found:
        assert portion.bytes == sum(map(len, itertools.chain.from_iterable(portion.command.pairs)))
        *before, last = portion.command.pairs
        assert len(before) < pairs_max
        assert portion.bytes - sum(map(len, last)) < bytes_max


def test_no_more_is_drawn_than_a_portion_takes():
    drawn = itertools.count()
    coming = split_pairs((b"%d" % number, b"x") for number in drawn)
    next(coming)
    assert next(drawn) == PAIRS_MAX
    large = split_pairs((b"k", bytes(CHUNK_BYTES_MAX)) for _ in drawn)
    assert len(next(large).command.pairs) == 1


def test_a_mapping_is_its_items_and_other_things_are_none():
    assert [portion.command.pairs for portion in split_pairs({"a": b"1"})] == [[(b"a", b"1")]]
    with pytest.raises(TypeError, match="not object"):
        list(split_pairs([("a", object())]))


def of_size(size):
    [chunk] = split_pairs([(b"k", bytes(size - 1))])
    return chunk


def window_of(commands=CHUNKS_IN_FLIGHT_MAX, **options):
    return BulkWindow(WindowLimits(commands, 10**9, BYTES_IN_FLIGHT_MAX), 0, **options)


def has_capacity(window, chunk):
    return window.has_capacity(chunk.entries, chunk.bytes)


def test_what_is_in_flight_is_bounded_in_number_and_in_bytes():
    window, small, large = window_of(), of_size(10), of_size(BYTES_IN_FLIGHT_MAX + 1)
    assert has_capacity(window, large)  # alone
    for _ in range(CHUNKS_IN_FLIGHT_MAX):
        assert has_capacity(window, small)
        assert has_capacity(window, large) is (not window.in_flight)
        window.on_sent(small, 0.0)
    assert not has_capacity(window, small)
    window.on_outcome(Ok(1, None), 0.0)
    assert has_capacity(window, small)
    assert (window.applied_entries, window.in_flight) == (1, CHUNKS_IN_FLIGHT_MAX - 1)


def test_the_first_error_is_kept_and_only_what_came_before_it_counts():
    applied = []
    window = window_of(on_applied=applied.append)
    chunks = [of_size(size) for size in (10, 11, 12, 13)]
    for chunk in chunks:
        window.on_sent(chunk, 0.0)
    for outcome in (Ok(1, None), Error("BAD_ARGUMENT", "no", {}), OutcomeUnknown("?"), Ok(2, None)):
        window.on_outcome(outcome, 0.0)
    assert isinstance(window.error, BadArgument)
    assert (window.failed, applied, window.applied_entries, window.is_done) == (chunks[1], chunks[:1], 1, True)


def in_asyncio(endpoint, pairs, **options):
    async def body():
        async with AsyncClient(endpoint, **options) as kv:
            return await asyncio.wait_for(kv.load(pairs), 60)

    return asyncio.run(body())


def load_sync(endpoint, pairs, **options):
    with Client(endpoint, **options) as kv:
        return kv.load(pairs)


both = pytest.mark.parametrize("load", [load_sync, in_asyncio])


@both
def test_all_are_set_in_their_order(daemon, kv, load):
    before = kv.info("server")["server"]["revision"]
    assert load(daemon.commands, []) == 0
    assert load(daemon.commands, {"a": "1", "b": b"\x00"}) == 2
    assert load(daemon.commands, ((f"k{number % 7000}", str(number)) for number in range(20_000))) == 20_000
    assert kv.count("k") == 7000
    assert kv.multiget("a", "b", "k0", "k5999", "k6999") == [b"1", b"\x00", b"14000", b"19999", b"13999"]
    assert kv.info("server")["server"]["revision"] - before == 20_002


@both
def test_a_refusal_ends_it_and_what_came_before_is_set(daemon, kv, load):
    drawn = itertools.count()
    pairs = ((f"k{number}" if number != 2 * PAIRS_MAX else "", "x") for number in drawn)
    with pytest.raises(BadArgument, match="MULTISET"):
        load(daemon.commands, pairs)
    assert next(drawn) <= (4 + CHUNKS_IN_FLIGHT_MAX) * PAIRS_MAX
    count = kv.count("k")
    assert count >= 2 * PAIRS_MAX
    assert count % PAIRS_MAX == 0
    assert kv.exists(f"k{2 * PAIRS_MAX - 1}", f"k{2 * PAIRS_MAX + 1}") == 1


@both
def test_without_a_daemon_it_is_unreachable(tmp_path, load):
    with pytest.raises(Unreachable):
        load(f"ipc://{tmp_path}/none", [("a", "1")], timeout=0.2)


@both
def test_large_values_go_through(daemon, kv, load):
    assert load(daemon.commands, ((f"k{number}", bytes(9 * MIB)) for number in range(6)), timeout=60) == 6
    assert kv.count() == 6


def test_pairs_may_come_from_the_client_itself(kv):
    kv.load((f"a{number}", str(number)) for number in range(3000))
    assert kv.load((b"b" + key[1:], value) for key, value in kv.items("a")) == 3000
    assert kv.get("b2999") == b"2999"


def test_an_error_of_who_gives_the_pairs_is_raised(kv):
    with pytest.raises(ZeroDivisionError):
        kv.load((str(number), str(1 // (1500 - number))) for number in range(9000))
    assert kv.ping() == b"PONG"


def test_less_is_put_in_flight_when_replies_are_late_and_more_when_they_are_not():
    window, most = window_of(is_adaptive=True), []
    for seconds in (0.0, 0.3, 0.6, 0.6, 0.6, 0.6, 0.3, *[0.01] * 20):
        window.on_sent(of_size(10), 0.0)
        window.on_outcome(Ok(1, None), seconds)
        most.append(window.commands_max)
    assert most[:10] == [8, 8, 4, 2, 1, 1, 1, 2, 3, 4]
    assert most[-1] == CHUNKS_IN_FLIGHT_MAX
    window = window_of(commands=1)
    window.on_sent(of_size(10), 0.0)
    assert not has_capacity(window, of_size(10))
