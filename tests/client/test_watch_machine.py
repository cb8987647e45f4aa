"""The requests of a watch, and its state after each reply: no sockets, no clock."""

import pytest

from kvd.client.selection import Selection
from kvd.client.watch_machine import WatchMachine
from kvd.commands.base import Error, Ok
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.commands.server import Info, Ping
from kvd.errors import BadArgument, Compacted, Denied, HistoryChanged
from kvd.limits import CHANGES_LIMIT_DEFAULT


def machine(**options):
    arguments = {"since": 0, "history": None, "has_snapshot": False, "on_history": lambda _: None, **options}
    return WatchMachine(Selection(has_mark=True), **arguments)


def info(history="h", revision=7):
    server = {"history": history, "revision": revision, "publish_queue": 400, "changes_endpoints": ["tcp://a:1"]}
    return Ok(revision, {"server": server})


def start(watch, **facts):
    """Answer INFO."""
    question = watch.first_question()
    assert question.command == Info("server")
    return watch.on_reply(question, info(**facts))


def change(revision, key=b"a"):
    return Change("SET", revision, key, b"", 0, None, 1)


def test_info_leads_to_published_changes_and_a_heartbeat_to_a_probe():
    watch = machine()
    assert (watch.wants_published, watch.next_questions(), watch.reached) == (False, [], 0)
    assert start(watch) == []
    assert (watch.wants_published, watch.changes_endpoints, watch.history) == (True, ["tcp://a:1"], "h")
    watch.follower.on_heartbeat(7)
    ping, changes = watch.next_questions()
    assert [ping.command, changes.command] == [Ping(), Changes(0, b"", CHANGES_LIMIT_DEFAULT)]
    assert watch.on_reply(ping, Ok(7, b"PONG")) == []
    assert watch.on_reply(changes, Ok(7, [change(7)])) == [change(7)]
    assert (watch.is_ready, watch.reached) == (True, 7)


def test_after_a_loss_info_comes_first_and_late_replies_are_stale():
    watch = machine()
    start(watch)
    watch.follower.on_heartbeat(7)
    ping, _ = watch.next_questions()
    assert not watch.is_stale(ping)
    watch.on_loss()
    assert watch.is_stale(ping)
    assert not watch.is_stale(watch.first_question())
    assert (watch.wants_published, watch.next_questions()) == (False, [])
    start(watch)
    assert watch.wants_published


def test_where_the_changes_socket_is_denied_the_journal_is_read():
    watch = machine(since=None)
    start(watch)
    watch.on_denied()
    assert (watch.is_polling, watch.wants_published, watch.is_ready) == (True, False, False)
    [span] = watch.next_questions()
    assert span.command == Changes(7, b"", CHANGES_LIMIT_DEFAULT)
    assert watch.on_reply(span, Ok(9, [change(8)])) == [change(8)]
    assert (watch.is_ready, watch.reached) == (True, 9)
    watch.on_loss()
    assert (watch.is_polling, watch.reached) == (False, 9)
    watch.restart(3)
    assert (watch.follower, watch.reached) == (None, 3)


def test_a_snapshot_comes_first_and_its_mark_ends_it():
    watch = machine(since=None, has_snapshot=True)
    start(watch)
    [page] = watch.next_questions()
    assert watch.deliver([]) == []
    watch.on_loss()
    assert watch.next_questions() == [], "first the daemon has to say again which store it has"
    start(watch)
    [page] = watch.next_questions()
    entries = watch.on_reply(page, Ok(8, [[(b"a", b"1", 3, None)], None]))
    delivered = watch.deliver(entries)
    assert [(each.kind, each.revision) for each in delivered] == [("SET", 3), ("SNAPSHOT_END", 7)]
    assert watch.deliver([change(8), change(9)]) == [change(9)], "the page holds the first"
    watch.restart(5)
    assert (watch.follower, watch.reached, watch.next_questions()) == (None, 5, [])


def test_another_history_is_refused():
    watch = machine(history="old")
    with pytest.raises(HistoryChanged, match="the daemon has the history new, not old"):
        start(watch, history="new")
    assert watch.known_history == "old"


def test_an_error_is_raised_unless_it_passes():
    watch = machine()
    start(watch)
    watch.follower.on_heartbeat(7)
    _, changes = watch.next_questions()
    assert watch.on_error(changes, Error("BUSY", "later", {}))
    with pytest.raises(Denied):
        watch.on_error(changes, Error("DENIED", "no", {}))
    with pytest.raises(HistoryChanged):
        watch.on_error(changes, Error("BAD_ARGUMENT", "no such revision", {}))
    with pytest.raises(BadArgument):
        watch.on_error(watch.first_question(), Error("BAD_ARGUMENT", "no such section", {}))


def test_compacted_is_harmless_when_the_changes_have_come_otherwise():
    watch = machine(since=1)
    start(watch)
    watch.follower.on_heartbeat(7)
    _, changes = watch.next_questions()
    assert not watch.on_error(changes, Error("COMPACTED", "gone", {"compacted": 1}))
    assert len(watch.next_questions()) == 2, "it is asked again"
    with pytest.raises(Compacted):
        watch.on_error(changes, Error("COMPACTED", "gone", {"compacted": 2}))
