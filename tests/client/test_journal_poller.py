"""A watch without the changes socket: each change of its prefixes once, in order, whatever the answers were cut at."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.client.journal_poller import JournalPoller
from kvd.commands.base import Ok
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.limits import CHANGES_LIMIT_DEFAULT, POLL_WAIT_MS

KEYS = st.binary(min_size=1, max_size=2)


def change(revision, key):
    return Change("SET", revision, key, b"", 0, None, 0)


def ask(poller):
    """Return the questions by prefix."""
    return {question.command.prefix: question for question in poller.next_questions()}


def test_one_prefix_asks_once_and_then_waits():
    poller = JournalPoller([b"a"], 5)
    span = ask(poller)[b"a"]
    assert span.command == Changes(5, b"a", CHANGES_LIMIT_DEFAULT)
    assert (ask(poller), poller.is_complete) == ({}, False)
    assert span.on_reply(Ok(9, [change(7, b"a")])) == [change(7, b"a")]
    assert (poller.position, poller.is_complete) == (9, True)
    wait = ask(poller)[b"a"]
    assert wait.command == Changes(9, b"a", CHANGES_LIMIT_DEFAULT, POLL_WAIT_MS)
    assert ask(poller) == {}
    assert wait.on_reply(Ok(11, [change(11, b"a")])) == [change(11, b"a")]
    assert ask(poller)[b"a"].command.since == 11


def test_of_several_prefixes_one_that_has_something_calls_for_all():
    poller = JournalPoller([b"b", b"a"], 0)
    spans = ask(poller)
    assert [spans[prefix].on_reply(Ok(3, [])) for prefix in (b"a", b"b")] == [[], []]
    waits = ask(poller)
    assert {question.command.wait_ms for question in waits.values()} == {POLL_WAIT_MS}
    assert waits[b"b"].on_reply(Ok(5, [change(5, b"b")])) == []
    spans = ask(poller)
    assert [(span.command.since, span.command.wait_ms) for span in spans.values()] == [(3, None), (3, None)]
    assert spans[b"a"].on_reply(Ok(5, [change(4, b"a")])) == []
    assert spans[b"b"].on_reply(Ok(5, [change(5, b"b")])) == [change(4, b"a"), change(5, b"b")]
    assert list(ask(poller)) == [b"b"], "the wait for the other is still in flight"


@given(
    st.lists(KEYS, min_size=1, max_size=30),
    st.lists(st.binary(max_size=1), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_whatever_comes_when_each_change_is_delivered_once_in_order(keys, prefixes, chance):
    """The daemon writes and answers in any order; a wait is answered when there is something, or empty."""
    journal, questions, delivered = [], [], []
    poller = JournalPoller(prefixes, 0)
    while poller.position < len(keys):
        questions += poller.next_questions()
        if len(journal) < len(keys) and chance.random() < 0.5:
            journal.append(change(len(journal) + 1, keys[len(journal)]))
            continue
        question = questions.pop(chance.randrange(len(questions)))
        since, prefix = question.command.since, question.command.prefix
        changes = [each for each in journal if each.revision > since and each.key.startswith(prefix)]
        limit = chance.randint(1, 3)
        upto = changes[limit - 1].revision if len(changes) > limit else len(journal)
        delivered += question.on_reply(Ok(upto, changes[:limit]))
    assert delivered == [each for each in journal if each.key.startswith(tuple(prefixes))]
