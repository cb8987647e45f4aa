"""A watch without the changes socket: each change of its prefixes once, in order, whatever the answers were cut at."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.client.journal_poller import SPAN, WAIT, JournalPoller
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.limits import CHANGES_LIMIT_DEFAULT, POLL_WAIT_MS

KEYS = st.binary(min_size=1, max_size=2)


def change(revision, key):
    return Change("SET", revision, key, b"", 0, None, 0)


def test_one_prefix_asks_once_and_then_waits():
    polling = JournalPoller([b"a"], 5)
    assert polling.next_commands() == [(SPAN, Changes(5, b"a", CHANGES_LIMIT_DEFAULT))]
    assert (polling.next_commands(), polling.is_complete) == ([], False)
    assert polling.on_result(SPAN, b"a", 9, [change(7, b"a")]) == [change(7, b"a")]
    assert (polling.position, polling.is_complete) == (9, True)
    assert polling.next_commands() == [(WAIT, Changes(9, b"a", CHANGES_LIMIT_DEFAULT, POLL_WAIT_MS))]
    assert polling.next_commands() == []
    assert polling.on_result(WAIT, b"a", 11, [change(11, b"a")]) == [change(11, b"a")]
    assert [command.since for _, command in polling.next_commands()] == [11]


def test_of_several_prefixes_one_that_has_something_calls_for_all():
    polling = JournalPoller([b"b", b"a"], 0)
    assert [tag for tag, _ in polling.next_commands()] == [SPAN, SPAN]
    assert polling.on_result(SPAN, b"a", 3, []) == polling.on_result(SPAN, b"b", 3, []) == []
    assert [(tag, command.prefix) for tag, command in polling.next_commands()] == [(WAIT, b"a"), (WAIT, b"b")]
    assert polling.on_result(WAIT, b"b", 5, [change(5, b"b")]) == []
    assert [(tag, command.since) for tag, command in polling.next_commands()] == [(SPAN, 3), (SPAN, 3)]
    assert polling.on_result(SPAN, b"a", 5, [change(4, b"a")]) == []
    assert polling.on_result(SPAN, b"b", 5, [change(5, b"b")]) == [change(4, b"a"), change(5, b"b")]
    assert [(tag, command.prefix) for tag, command in polling.next_commands()] == [(WAIT, b"b")]


@given(
    st.lists(KEYS, min_size=1, max_size=30),
    st.lists(st.binary(max_size=1), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_whatever_comes_when_each_change_is_delivered_once_in_order(keys, prefixes, chance):
    """The daemon writes and answers in any order; a wait is answered when there is something, or empty."""
    journal, asked, delivered = [], [], []
    polling = JournalPoller(prefixes, 0)
    while polling.position < len(keys):
        asked += polling.next_commands()
        if len(journal) < len(keys) and chance.random() < 0.5:
            journal.append(change(len(journal) + 1, keys[len(journal)]))
            continue
        tag, command = asked.pop(chance.randrange(len(asked)))
        found = [each for each in journal if each.revision > command.since and each.key.startswith(command.prefix)]
        limit = chance.randint(1, 3)
        upto = found[limit - 1].revision if len(found) > limit else len(journal)
        delivered += polling.on_result(tag, command.prefix, upto, found[:limit])
    assert delivered == [each for each in journal if each.key.startswith(tuple(prefixes))]
