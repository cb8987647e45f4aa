"""The answers to several CHANGES are together what one would have said: complete up to its revision, in order, once."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.client.probe import Probe, disjoint_prefixes
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.limits import CHANGES_LIMIT_DEFAULT

KEYS = st.binary(min_size=1, max_size=3)
PREFIXES = st.lists(st.binary(max_size=2), min_size=1, max_size=4)


def change(revision, key):
    return Change("SET", revision, key, b"", 0, None, 0)


def answer(journal, command, limit):
    """Return what the daemon says to CHANGES, cut at a limit: up to which revision it is complete, and the changes."""
    found = [each for each in journal if each.revision > command.since and each.key.startswith(command.prefix)]
    return (found[limit - 1].revision, found[:limit]) if len(found) > limit else (len(journal), found)


def test_it_asks_for_each_prefix():
    assert Probe([b"a", b"b"], 7).commands == [Changes(7, prefix, CHANGES_LIMIT_DEFAULT) for prefix in (b"a", b"b")]


def test_what_is_above_the_least_revision_is_left_to_the_next_probe():
    probe = Probe([b"a", b"b"], 0)
    assert probe.on_result(9, [change(2, b"a"), change(9, b"a")]) is None
    assert probe.on_result(5, [change(1, b"b"), change(5, b"b")]) == (
        5,
        [change(1, b"b"), change(2, b"a"), change(5, b"b")],
    )


@given(st.lists(KEYS, max_size=30), PREFIXES, st.lists(st.integers(1, 5), min_size=4, max_size=4))
def test_probe_after_probe_brings_each_change_once_in_order(keys, prefixes, limits):
    journal = [change(revision, key) for revision, key in enumerate(keys, 1)]
    position, delivered = 0, []
    while position < len(journal):
        probe = Probe(prefixes, position)
        answers = [
            probe.on_result(*answer(journal, command, limit))
            for command, limit in zip(probe.commands, limits, strict=False)
        ]
        assert answers[:-1] == [None] * (len(prefixes) - 1)
        upto, changes = answers[-1]
        assert upto > position
        position = upto
        delivered += changes
    assert delivered == [each for each in journal if each.key.startswith(tuple(prefixes))]


@given(PREFIXES, KEYS)
def test_prefixes_apart_have_the_same_keys_each_in_one(prefixes, key):
    found = disjoint_prefixes(prefixes)
    assert sum(key.startswith(prefix) for prefix in found) == key.startswith(tuple(prefixes))
    assert set(found) <= set(prefixes)
