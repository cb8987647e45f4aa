"""Ctrl-C at any bytecode: nothing runs twice, nothing hangs, and the client keeps working."""

import gc
import random
import signal
import threading
from contextlib import suppress
from functools import partial

import pytest
from support.descriptors import Descriptors
from support.interrupts import Interrupt, interrupt
from support.peers import FakeDaemon
from support.running import eventually

from kvd.client import Client, Stream
from kvd.commands.values import Get, Incr
from kvd.errors import KvdError

# An interrupt may come while __del__ runs, where Python reports it and continues.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# In the usual run each n-th bytecode: a prime, so that loops are met at different places. The long form takes each.
STEP = 67


def number(value):
    return int(value or b"0")


class Get1:
    """A client with a connection: GET."""

    most = 0
    fewest = 5
    step = STEP

    def __init__(self, daemon):
        self.kv = Client(daemon.endpoint)
        self.kv.get("warm")

    def call(self, key):
        self.kv.get(key)

    def next(self, key):
        return number(self.kv.get(key))

    def close(self):
        self.kv.close()


class Incr1(Get1):
    most = 1

    def call(self, key):
        self.kv.incr(key)


class ConnectAndIncr(Incr1):
    def __init__(self, daemon):
        self.kv = Client(daemon.endpoint)


class PipelineOfFive(Get1):
    most = 5

    def call(self, key):
        with self.kv.pipeline() as pipeline:
            for _ in range(5):
                pipeline.incr(key)


class StreamAnswer:
    most = 1
    fewest = 5
    step = STEP

    def __init__(self, daemon):
        self.stream = Stream(daemon.endpoint)
        self.stream.answer(Get(b"warm"))

    def call(self, key):
        self.stream.answer(Incr(key.encode()))

    def next(self, key):
        return number(self.stream.answer(Get(key.encode())).result)

    def close(self):
        self.stream.close()


class ConnectStream(StreamAnswer):
    def __init__(self, daemon):
        self.stream = Stream(daemon.endpoint)


class Set1(Get1):
    most = 7

    def call(self, key):
        self.kv.set(key, 7)


class OnceIncr(Incr1):
    def call(self, key):
        self.kv.once().incr(key)


class MultiSetAndGet(Get1):
    most = 3

    def call(self, key):
        self.kv.multiset({key: 3, "other": 4})
        self.kv.multiget(key, "other", "no such key")


class Transaction(Get1):
    most = 2

    def call(self, key):
        with self.kv.transaction({key: 0}) as transaction:
            transaction.incr(key)
            transaction.incr(key)


class Take1(Get1):
    """A key that exists before the call exists after it, or was taken."""

    most = 9

    def call(self, key):
        self.kv.set(key, 9)
        assert self.kv.take(key) == b"9"


class TakeFirst1(Take1):
    def call(self, key):
        self.kv.set(key, 9)
        assert self.kv.once().take_first(key) == (key.encode(), b"9")


class Close(Get1):
    """A client that was half closed says so or works, and closes at the second time."""

    fewest = 1

    def call(self, key):
        self.kv.close()

    def next(self, key):
        try:
            return number(self.kv.get(key))
        except KvdError:
            assert repr(self.kv)
            return 0


class HoldLock(Get1):
    """After its holder is interrupted, a lock is free, or nobody renews it and it expires."""

    step = 397  # the garbage is collected each time

    def call(self, key):
        with self.kv.lock(f"lock:{key}", ttl=30) as lock:
            lock.check()

    def next(self, key):
        gc.collect()  # the traceback holds the frames, and they the lock
        eventually(lambda: "kvd lock" not in [thread.name for thread in threading.enumerate()])
        entry = self.kv.entry(f"lock:{key}")
        assert entry is None or entry.expires is not None
        return number(self.kv.get(key))


CASES = [
    *(Get1, Incr1, ConnectAndIncr, PipelineOfFive, StreamAnswer, ConnectStream),
    *(Set1, OnceIncr, MultiSetAndGet, Transaction, Take1, TakeFirst1, Close, HoldLock),
]


def interrupt_everywhere(case, step, error=Interrupt):
    """Interrupt a call at each n-th of its bytecodes; each time the next call is right and ends."""
    with FakeDaemon() as daemon:
        since = Descriptors()
        at, where, met = random.randint(1, step), "", {}
        while where is not None:
            subject = case(daemon)
            where = interrupt(partial(subject.call, f"n{at}"), at, error())
            met[at] = where
            assert subject.next(f"n{at}") in range(case.most + 1), where
            subject.close()
            at += step
        eventually(since.are_closed)
    for at, where in met.items():
        assert number(daemon.value(b"n%d" % at)) <= case.most, where
    assert len(met) > case.fewest
    return len(met)


@pytest.mark.parametrize("case", CASES)
def test_an_interrupt_leaves_a_client_that_works(case):
    interrupt_everywhere(case, case.step)


@pytest.mark.long
@pytest.mark.parametrize("error", [Interrupt, TimeoutError])
@pytest.mark.parametrize("case", CASES)
def test_an_interrupt_at_each_bytecode(case, error):
    count = interrupt_everywhere(case, 1, error)
    print(f"{case.__name__}, {error.__name__}: {count} bytecodes")
    assert count > 20 * case.fewest


@pytest.mark.parametrize("case", [Incr1, ConnectAndIncr, StreamAnswer])
def test_a_handler_that_raises_an_error_of_sockets_is_not_taken_for_one(case):
    interrupt_everywhere(case, STEP, TimeoutError)


class Alarms:
    """Raises Interrupt at a random moment, again and again."""

    def __enter__(self):
        self.is_armed = False
        self.previous = signal.signal(signal.SIGALRM, self.ring)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.previous)

    def ring(self, *_):
        if self.is_armed:
            self.is_armed = False
            raise Interrupt


def incr_until_interrupted(kv, alarms):
    """Run INCR again and again until an interrupt comes; return how often it returned."""
    returned = []
    with suppress(Interrupt):
        incr_while_armed(kv, alarms, returned)
    alarms.is_armed = False
    return len(returned)


def incr_while_armed(kv, alarms, returned):
    """Run INCR until an interrupt has come, which a `__del__` may lose.

    A function, because since Python 3.12 the jump at the end of a loop is not covered by a `try` around the loop.
    """
    alarms.is_armed = True
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
    while alarms.is_armed:
        returned.append(kv.incr("n"))


@pytest.mark.parametrize("count", [1500, pytest.param(100_000, marks=pytest.mark.long)])
def test_random_signals_run_nothing_twice_and_lose_nothing(daemon, count):
    since = Descriptors()
    returned = ran_unseen = value = 0
    with daemon.client() as kv, Alarms() as alarms:
        for _ in range(count):
            done = incr_until_interrupted(kv, alarms)
            value, earlier = number(kv.get("n")), value
            assert value - earlier in (done, done + 1)  # less: one is lost; more: one ran twice
            returned += done
            ran_unseen += value - earlier - done
    print(f"{count} signals: {returned} INCRs returned, {ran_unseen} ran and were interrupted; 0 twice, 0 lost, 0 hung")
    eventually(since.are_closed)
