"""The proof at the head of `kvd.client.follower`, run against a daemon that drops what libzmq may drop.

The daemon here keeps a journal and, for its one subscriber, the messages under way. As long as `drops_from` of them
are under way it may drop the next (and at `QUEUE_MAX` it must), heartbeats as well as changes. libzmq does so from
half the queue on, and a little before (see MARGIN_PART): here from a quarter on, which is what the follower takes.
"""

from collections import deque

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from support.hypotheses import examples

from kvd.client import follower as follower_module
from kvd.client.follower import Follower, common_prefix
from kvd.commands.model import Change

QUEUE_MAX = 16
PREFIXES = [b"a", b"b"]
KEYS = [b"a", b"ab", b"b", b"zz"]


def change(revision, key=b"a"):
    return Change("SET", revision, key, b"", 0, None, 0)


class World:
    """A daemon, the way from it, and a follower with its probe: each step of each may come at any time."""

    def __init__(self, cls=Follower, *, since=0, drops_from=QUEUE_MAX // 4, is_tagged=True) -> None:
        self.journal: list[Change] = []
        self.drops_from = drops_from
        self.is_tagged = is_tagged
        self.is_connected = False
        self.queue: deque[Change | int] = deque()
        self.requests: deque[tuple] = deque()
        self.replies: deque[tuple] = deque()
        self.follower = cls(PREFIXES, since, QUEUE_MAX)
        self.start = since
        self.head = 0
        self.delivered: list[Change] = []

    # The daemon

    def send(self, message, *, may_drop):
        is_dropped = len(self.queue) >= QUEUE_MAX or (may_drop and len(self.queue) >= self.drops_from)
        if self.is_connected and not is_dropped:
            self.queue.append(message)

    def publish(self, count, key, may_drop):
        for _ in range(count):
            self.journal.append(change(len(self.journal) + 1, KEYS[key % len(KEYS)]))
            if self.journal[-1].key.startswith(tuple(PREFIXES)):
                self.send(self.journal[-1], may_drop=may_drop)

    def heartbeat(self, count, may_drop):
        for _ in range(count):
            self.send(len(self.journal), may_drop=may_drop)

    def serve(self, limit):
        """Answer the next request; CHANGES is cut after `limit` rows."""
        if not self.requests:
            return
        kind, tag, since = self.requests.popleft()
        upto = min(len(self.journal), since + limit) if kind == "changes" else len(self.journal)
        self.replies.append((kind, tag, upto, self.journal[since:upto]))

    # The client

    def disconnect(self):
        self.is_connected = False
        self.queue.clear()
        self.follower.on_disconnect()

    def connect(self):
        if not self.is_connected:
            self.is_connected = True
            self.heartbeat(1, may_drop=False)

    def receive(self, count):
        for _ in range(min(count, len(self.queue))):
            message = self.queue.popleft()
            if isinstance(message, Change):
                self.deliver(self.follower.on_change(message))
            else:
                self.start = message if self.start is None else self.start
                self.follower.on_heartbeat(message)

    def probe(self):
        since = self.follower.begin_probe()
        if since is not None:
            tag = self.follower.connection
            self.requests += [("ping", tag, 0), ("changes", tag, since)]

    def answer(self):
        if not self.replies:
            return
        kind, tag, upto, changes = self.replies.popleft()
        if self.is_tagged and tag != self.follower.connection:
            return
        if kind == "ping":
            self.head = upto
        else:
            self.deliver(self.follower.on_probed(self.head, upto, changes))

    def fail(self):
        self.requests.clear()
        self.replies.clear()
        self.follower.on_probe_failed()

    # The claim

    def deliver(self, changes):
        self.delivered += changes
        assert self.delivered == self.journal_changes()[: len(self.delivered)]

    def journal_changes(self):
        return [c for c in self.journal[self.start or 0 :] if c.key.startswith(tuple(PREFIXES))]

    def settle(self):
        """Let everything in flight arrive, until nothing can be missed any more."""
        self.connect()
        for _ in range(2 * len(self.journal) + 10):
            self.heartbeat(1, may_drop=False)
            self.receive(QUEUE_MAX)
            self.probe()
            while self.requests or self.replies:
                self.serve(7)
                self.answer()
            if self.follower.is_complete and self.follower.position == len(self.journal):
                break
        assert self.follower.is_complete
        assert self.follower.position == len(self.journal)
        assert self.delivered == self.journal_changes()


SMALL = st.integers(1, 2 * QUEUE_MAX)
STEPS = st.one_of(
    st.tuples(st.just("publish"), SMALL, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("publish"), st.integers(1, 4), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("heartbeat"), st.sampled_from([1, 1, 2, 5]), st.booleans()),
    st.tuples(st.just("receive"), SMALL),
    st.tuples(st.just("receive"), st.just(QUEUE_MAX)),
    st.tuples(st.just("probe")),
    st.tuples(st.just("serve"), st.sampled_from([3, 1000, 1000])),
    st.tuples(st.just("answer")),
    st.tuples(st.sampled_from(["disconnect", "connect", "fail"])),
    st.just(("round",)),
)
PROGRAMS = st.lists(STEPS, max_size=50)
STARTS = st.sampled_from([None, 0, 3])


def run_step(world, name, *arguments):
    if name != "round":
        getattr(world, name)(*arguments)
        return
    for step in (
        ("connect",),
        ("receive", QUEUE_MAX),
        ("probe",),
        ("serve", 1000),
        ("serve", 1000),
        ("answer",),
        ("answer",),
    ):
        getattr(world, step[0])(*step[1:])


def run(program, since, cls=Follower, **options):
    world = World(cls, since=since, **options)
    if since:
        world.publish(since, 0, may_drop=False)
    for step in program:
        run_step(world, *step)
    world.settle()


@settings(max_examples=examples(1_500))
@given(PROGRAMS, STARTS)
def test_every_change_is_delivered_once_and_in_order_whatever_is_dropped(program, since):
    run(program, since)


@pytest.mark.long
@settings(max_examples=20_000)
@given(PROGRAMS, STARTS)
def test_every_change_is_delivered_once_and_in_order_in_very_many_programs(program, since):
    run(program, since)


@given(PROGRAMS, STARTS)
def test_more_changes_than_are_kept_unconfirmed_are_asked_for(program, since):
    kept = follower_module.UNCONFIRMED_CHANGES_MAX
    follower_module.UNCONFIRMED_CHANGES_MAX = 2
    try:
        run(program, since)
    finally:
        follower_module.UNCONFIRMED_CHANGES_MAX = kept


# Followers that are wrong: the simulation has to find each of them out, or it shows nothing.


class TooSure(Follower):
    """Takes four queues for provable."""

    def __init__(self, prefixes, since, queue_max):
        super().__init__(prefixes, since, queue_max)
        self.provable = 4 * queue_max


class Hasty(Follower):
    """Takes an answer that was cut for a whole one."""

    def on_probed(self, head, upto, changes):
        return super().on_probed(min(head, upto), upto, changes)


class Forgetful(Follower):
    """Does not count heartbeats."""

    def on_heartbeat(self, revision):
        super().on_heartbeat(revision)
        self.controls = 0


class Faithful(Follower):
    """Assumes that a new connection continues where the old one ended."""

    def on_disconnect(self):
        before = vars(self).get("anchor"), vars(self).get("seen")
        super().on_disconnect()
        self.anchor, self.seen = before
        self.has_gap = self.anchor is None


class Early(Follower):
    """Takes the newest revision seen when the answer came, not that of when it asked."""

    def on_probed(self, head, upto, changes):
        seen, controls = self._probed
        self._probed = (max(self.seen or 0, seen), controls)
        return super().on_probed(head, upto, changes)


class Repeating(Follower):
    """Delivers what a probe brings, delivered before or not."""

    def on_probed(self, head, upto, changes):
        return [c for c in changes if self.matches(c)] or super().on_probed(head, upto, changes)


def is_found_out(cls, **options):
    @seed(5)  # finds each within 150 examples; others take up to 3,000
    @settings(max_examples=3_000, deadline=None, database=None, phases=[Phase.generate])
    @given(PROGRAMS, STARTS)
    def check(program, since):
        run(program, since, cls, **options)

    with pytest.raises(AssertionError):
        check()


@pytest.mark.parametrize("cls", [TooSure, Hasty, Forgetful, Faithful, Repeating])
def test_a_follower_that_is_wrong_is_found_out(cls):
    is_found_out(cls)


LATE_ANSWER = [
    *[("publish", 2, 0, False), ("connect",), ("receive", 9), ("probe",), ("serve", 9), ("serve", 9)],
    *[("disconnect",), ("publish", 2, 0, False), ("connect",), ("receive", 9), ("probe",), ("answer",), ("answer",)],
    *[("publish", 1, 0, False), ("receive", 9)],
]


def test_answers_that_are_not_told_from_those_of_the_connection_before_are_found_out():
    run(LATE_ANSWER, 0)
    with pytest.raises(AssertionError):
        run(LATE_ANSWER, 0, is_tagged=False)


NEWER_WHEN_ANSWERED = [
    *[("connect",), ("receive", 9), ("probe",), ("serve", 9), ("serve", 9)],
    *[("publish", 8, 0, True), ("receive", 9), ("publish", 1, 0, True), ("receive", 9), ("answer",), ("answer",)],
]


def test_an_anchor_newer_than_the_question_is_found_out():
    run(NEWER_WHEN_ANSWERED, 0)
    with pytest.raises(AssertionError):
        run(NEWER_WHEN_ANSWERED, 0, Early)


def test_a_daemon_that_drops_earlier_than_the_proof_allows_is_found_out():
    is_found_out(Follower, drops_from=1)


# Step by step


def follower_at(since=0):
    made = Follower([b"a"], since, 400)
    made.on_heartbeat(10)
    return made


def test_nothing_is_probed_before_the_first_heartbeat_and_nothing_twice():
    made = Follower([b"a"], 0, 400)
    assert made.begin_probe() is None
    assert made.on_change(change(1)) == []
    made.on_heartbeat(10)
    assert made.begin_probe() == 0
    assert made.begin_probe() is None
    assert made.on_probed(10, 10, [change(4), change(5, b"b")]) == [change(4)]
    assert (made.position, made.is_complete) == (10, True)
    assert made.begin_probe() is None


def test_who_has_no_start_begins_at_the_first_heartbeat():
    made = Follower([b"a"], None, 400)
    assert made.on_change(change(9)) == []
    made.on_heartbeat(10)
    assert (made.position, made.begin_probe()) == (10, 10)


def test_the_next_change_is_delivered_at_once_when_it_is_proven():
    made = follower_at(10)
    made.begin_probe()
    made.on_probed(10, 10, [])
    assert made.on_change(change(10)) == []
    assert made.on_change(change(12)) == [change(12)]
    made.on_heartbeat(13)
    assert made.position == 13


def test_a_change_beyond_what_is_proven_waits_for_a_probe_and_a_new_probe_comes_before_that():
    made = follower_at(10)
    made.begin_probe()
    made.on_probed(10, 10, [])
    assert made.on_change(change(60)) == [change(60)]
    assert made.begin_probe() == 60
    made.on_probe_failed()
    assert made.on_change(change(110)) == []
    assert not made.is_complete
    assert made.begin_probe() == 60
    assert made.on_probed(110, 110, [change(100), change(110)]) == [change(100), change(110)]
    assert made.is_complete


def test_a_late_answer_of_the_connection_before_is_ignored():
    made = follower_at(0)
    assert made.begin_probe() == 0
    made.on_disconnect()
    assert made.connection == 2
    assert made.on_probed(10, 10, [change(3)]) == []
    assert (made.position, made.is_complete, made.seen) == (0, False, None)


@pytest.mark.parametrize(
    ("prefixes", "common"),
    [
        ([b""], b""),
        ([b"user:"], b"user:"),
        ([b"user:1", b"user:2"], b"user:"),
        ([b"user:", b"user:1"], b"user:"),
        ([b"a", b"b"], b""),
        ([b"ab", b"b"], b""),
        ([b"", b"a"], b""),
        ([b"abc", b"abd", b"ab"], b"ab"),
    ],
)
def test_one_prefix_brings_the_changes_of_all(prefixes, common):
    assert common_prefix(prefixes) == common
