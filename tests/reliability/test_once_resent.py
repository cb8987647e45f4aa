"""A write under ONCE is resent while its replies are lost, and happens once, also across a kill (R11)."""

import threading
import time

import pytest
from support.proxy import Proxy

from kvd.client import Client
from kvd.commands.atomic import Transaction
from kvd.commands.values import Append, Incr
from kvd.errors import OutcomeUnknown


class Lost:
    """Drops the first replies that it sees; what has to happen then is done before the next may come."""

    def __init__(self, count, then):
        self.left, self.then = count, then
        self.told = []

    def __call__(self, message):
        if not self.left:
            return False
        self.left -= 1
        self.told.append(message)
        self.then(len(self.told))
        return True


def kill_in_between(daemon, number):
    """Kill the daemon, once: after the first reply was lost. It is started by the test's own thread."""
    if number == 1:
        daemon.kill()


@pytest.mark.parametrize(
    ("call", "result", "value"),
    [
        (lambda kv: kv.incr("n"), 2, b"2"),
        (lambda kv: kv.append("n", "x"), 2, b"1x"),
        (lambda kv: kv.take("n"), b"1", None),
        (lambda kv: kv.take_first("", wait=20), (b"n", b"1"), None),
        (lambda kv: kv.run(Transaction([], [Incr(b"n"), Append(b"n", b"y")])), [2, 2], b"2y"),
    ],
    ids=["INCR", "APPEND", "TAKE", "TAKEFIRST", "TRANSACTION"],
)
def test_a_write_whose_reply_is_lost_three_times_across_a_kill_happens_once(daemon, kv, call, result, value):
    kv.set("n", "1")
    with Proxy(daemon.commands) as proxy, Client(proxy.endpoint, timeout=30) as through:
        proxy.on_reply = lost = Lost(3, lambda number: kill_in_between(daemon, number))
        answers = []
        asking = threading.Thread(target=lambda: answers.append(call(through.once())))
        asking.start()
        while daemon.process.poll() is None:
            time.sleep(0.005)
        daemon.start()
        asking.join()
        assert answers == [result]
        assert len(lost.told) == 3
    assert kv.get("n") == value
    rows = len(value or b"") if isinstance(result, list) else 1
    assert kv.info("store")["store"]["revision"] == 1 + rows, "there are no other changes"


def test_a_write_that_is_not_under_once_is_not_sent_again(daemon, kv):
    with Proxy(daemon.commands) as proxy, Client(proxy.endpoint, timeout=30) as through:
        proxy.on_reply = Lost(1, lambda _: None)
        with pytest.raises(OutcomeUnknown):
            through.incr("n")
        assert through.get("n") == b"1"
