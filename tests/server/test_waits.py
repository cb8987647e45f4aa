"""TAKEFIRST that waits, over sockets and turn by turn: one winner, one wake-up, nothing taken for who is gone."""

import msgspec
import pytest
import zmq

from kvd.errors import Busy, Full, Internal
from kvd.limits import DELIVERIES_PER_TURN_MAX

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
WAIT = 60_000


class Worker:
    """A client of its own, which keeps its replies."""

    def __init__(self, rig):
        self.rig = rig
        self.socket = rig.context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(rig.dealer.get(zmq.LAST_ENDPOINT).decode())
        self.replies = []

    def send(self, *command):
        """Send a command; turn until the daemon has it."""
        before = sum(self.rig.server.executor.counts.calls.values())
        self.socket.send_multipart([b"", encode(command)])
        while sum(self.rig.server.executor.counts.calls.values()) == before:
            self.rig.server.loop.turn(20)
        return self

    def take(self, prefix=b"job:", wait=WAIT):
        return self.send("TAKEFIRST", prefix, wait)

    def look(self, count=1):
        """Turn until `count` replies are here; return their results and codes."""
        while len(self.replies) < count:
            self.rig.server.loop.turn(1)
            self.receive()
        return self.replies

    def receive(self):
        """Return what has come."""
        while self.socket.poll(1):
            name, first, *rest = decode(self.socket.recv_multipart()[-1])
            self.replies.append(rest[0] if name == "OK" else first)
        return self.replies

    def close(self):
        """Go, and let the daemon notice it."""
        self.rig.until_clients(len(self.rig.workers) + 1)
        self.socket.close()
        self.rig.workers.remove(self)
        self.rig.until_clients(len(self.rig.workers) + 1)
        turn(self.rig, 10)  # the connection is let go a moment after it is counted


@pytest.fixture
def make(rig):
    """Return what makes workers of the rig."""
    rig.workers = []

    def until_clients(count):
        while rig.server.sockets.clients.count != count:
            rig.server.loop.turn(1)

    def make_worker():
        rig.workers.append(Worker(rig))
        return rig.workers[-1]

    rig.until_clients = until_clients
    return make_worker


def runs(rig, monkeypatch):
    """Note how often a waiting command is run."""
    ran = []
    real = rig.server.executor.run_waiting
    monkeypatch.setattr(rig.server.executor, "run_waiting", lambda *asked: ran.append(asked) or real(*asked))
    return ran


def turn(rig, count=3):
    for _ in range(count):
        rig.server.loop.turn(1)


def test_a_key_that_is_there_is_taken_at_once(rig):
    rig.ask("MULTISET", [[b"job:2", b"b"], [b"job:1", b"a"], [b"k", b""]])
    assert rig.ask("TAKEFIRST", b"job:", WAIT) == ["OK", 4, [b"job:1", b"a"]]
    assert rig.ask("TAKEFIRST", b"job:") == ["OK", 5, [b"job:2", b"b"]]
    assert rig.ask("TAKEFIRST", b"job:") == ["OK", 5, None]


def test_a_change_wakes_the_longest_waiting_and_nobody_else(rig, make, monkeypatch):
    first, second, third = make().take(), make().take(b"job:1"), make().take()
    ran = runs(rig, monkeypatch)
    assert rig.ask("INFO", "traffic")[2]["traffic"]["waiting"] == 3
    rig.ask("SET", b"other", b"x")
    assert ran == []
    rig.ask("SET", b"job:1", b"a")
    assert (first.look(), second.receive(), third.receive()) == ([[b"job:1", b"a"]], [], [])
    assert len(ran) == 1
    assert rig.ask("MULTISET", [[b"job:12", b"b"], [b"job:11", b"c"]])[0] == "OK"
    assert (second.look(), third.look()) == ([[b"job:11", b"c"]], [[b"job:12", b"b"]])
    assert rig.ask("COUNT", b"job:")[2] == 0
    assert rig.ask("INFO", "traffic")[2]["traffic"]["waiting"] == 0


def test_no_key_is_left_while_somebody_waits_for_it(rig, make):
    wide, narrow = make().take(b"job:"), make().take(b"job:b")
    rig.ask("MULTISET", [[b"job:b", b"2"], [b"job:a", b"1"]])
    assert (wide.look(), narrow.look()) == ([[b"job:a", b"1"]], [[b"job:b", b"2"]])


def test_who_finds_a_key_gone_again_waits_on(rig, make, monkeypatch):
    worker = make().take()
    with monkeypatch.context() as patch:
        patch.setattr("kvd.server.waits.DELIVERIES_PER_TURN_MAX", 0)
        rig.ask("SET", b"job:1", b"a")
        assert rig.ask("TAKE", b"job:1")[2] == b"a"
    ran = runs(rig, monkeypatch)
    turn(rig)
    assert len(ran) == 1
    rig.ask("SET", b"job:1", b"b")
    assert worker.look() == [[b"job:1", b"b"]]


def test_nothing_is_taken_for_a_client_that_is_gone(rig, make):
    gone, there = make().take(), make().take()
    gone.close()
    rig.ask("SET", b"job:1", b"a")
    assert there.look() == [[b"job:1", b"a"]]
    assert rig.ask("INFO", "traffic")[2]["traffic"]["replies_dropped"] == 1


def test_a_key_stays_when_all_who_waited_for_it_are_gone(rig, make):
    gone = make().take()
    gone.close()
    rig.ask("SET", b"job:1", b"a")
    turn(rig)
    assert rig.ask("GET", b"job:1")[1:] == [1, b"a"], "there is no other change"
    assert rig.ask("TAKEFIRST", b"job:")[2] == [b"job:1", b"a"]


def test_a_client_that_sends_it_again_with_its_token_gets_the_same_key(rig, make):
    command = ("ONCE", b"token--1", ["TAKEFIRST", b"job:", WAIT])
    lost, again, other = make().send(*command), make().send(*command), make().take()
    rig.ask("MULTISET", [[b"job:1", b"a"], [b"job:2", b"b"]])
    assert (lost.look(), again.look(), other.look()) == ([[b"job:1", b"a"]], [[b"job:1", b"a"]], [[b"job:2", b"b"]])
    assert make().send(*command).look() == [[b"job:1", b"a"]]


def test_a_client_that_is_gone_and_sends_it_again_gets_a_key_once(rig, make):
    command = ("ONCE", b"token--1", ["TAKEFIRST", b"job:", WAIT])
    make().send(*command).close()
    again = make().send(*command)
    rig.ask("MULTISET", [[b"job:1", b"a"], [b"job:2", b"b"]])
    assert again.look() == [[b"job:1", b"a"]]
    assert rig.ask("COUNT", b"job:")[2] == 1


def test_a_token_that_waits_for_something_else_is_refused_when_it_was_used(rig, make):
    first = make().send("ONCE", b"token--1", ["TAKEFIRST", b"job:", WAIT])
    other = make().send("ONCE", b"token--1", ["TAKEFIRST", b"none", WAIT])
    rig.ask("SET", b"job:1", b"a")
    assert (first.look(), other.look()) == ([[b"job:1", b"a"]], ["CONFLICT"])


def test_a_wait_that_is_over_gives_nil(rig, make):
    worker = make().take(wait=1)
    assert worker.look() == [None]
    rig.ask("SET", b"job:1", b"a")
    assert rig.ask("GET", b"job:1")[2] == b"a"


def test_many_keys_are_given_some_in_a_turn(rig, make):
    worker = make()
    count = DELIVERIES_PER_TURN_MAX + 3
    for _ in range(count):
        worker.take()
    rig.ask("MULTISET", [[b"job:%02d" % number, b""] for number in range(count)])
    assert worker.look(count) == [[b"job:%02d" % number, b""] for number in range(count)]


def fail_next(rig, monkeypatch, error):
    """Let the next commit that ends a key fail."""
    real, left = rig.store.commit, [error]

    def commit(batch):
        if left and any(row[3] is None for row in batch.rows):
            raise left.pop()
        real(batch)

    monkeypatch.setattr(rig.store, "commit", commit)


@pytest.mark.parametrize("error", [Full("no room"), Busy("locked")])
def test_when_a_commit_cannot_be_a_client_is_told_and_the_next_one_gets_the_key(rig, make, monkeypatch, error):
    first, second = make().take(), make().take()
    fail_next(rig, monkeypatch, error)
    rig.ask("SET", b"job:1", b"a")
    assert (first.look(), second.look()) == ([error.code], [[b"job:1", b"a"]])


def test_when_the_storage_fails_all_who_wait_are_told(rig, make, monkeypatch):
    first, second = make().take(), make().take()
    fail_next(rig, monkeypatch, Internal("fsync"))
    rig.ask("SET", b"job:1", b"a")
    assert (first.look(), second.look()) == (["INTERNAL"], ["READ_ONLY"])
    assert rig.server.waits.next_due(0) is None, "the loop would turn without a rest"


def test_a_defect_is_told_and_the_key_stays(rig, make, monkeypatch, caplog):
    worker = make().take()
    with monkeypatch.context() as patch:
        patch.setattr("kvd.engine.staging.Staging.first", lambda *_: 1 / 0)
        rig.ask("SET", b"job:1", b"a")
        assert worker.look() == ["INTERNAL"]
    assert "event=defect" in caplog.text
    assert rig.ask("GET", b"job:1")[2] == b"a"


def test_all_who_wait_are_told_at_the_end(rig, make):
    worker = make().take()
    rig.server.loop.drain_and_stop()
    assert worker.socket.poll(60_000)
    assert worker.receive() == ["SHUTTING_DOWN"]
