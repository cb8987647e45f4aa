"""The results that eight clients see of fifty keys are linearizable across kills and restarts of the daemon (R9)."""

import random
import time

import pytest
from support.linearizability import Search
from support.recording import check_all, check_revisions, histories, record

CLIENTS = 8
UNIQUE_FROM = 1_000_000  # below, INCR may give a value twice, after CLEAR


def disturbance(daemon, restarts, calm_s, seed):
    """Return a function that kills or stops the daemon at random moments, and starts it again each time."""
    chance = random.Random(seed)

    def disturb():
        for _ in range(restarts):
            time.sleep(chance.uniform(0.1, 2) * calm_s)
            (daemon.stop if chance.random() < 0.25 else daemon.kill)()
            daemon.start()
        time.sleep(calm_s)

    return disturb


def record_history(daemon, restarts, calm_s, seed):
    begun = time.monotonic()
    recorders = record(daemon.commands, CLIENTS, seed, disturbance(daemon, restarts, calm_s, seed))
    seconds = time.monotonic() - begun
    counts = check_all(recorders)
    print(
        f"R9, seed {seed}: {restarts} restarts in {seconds:.0f} s; {counts}; "
        f"not executed: {sum(each.not_executed for each in recorders)}; checked in "
        f"{time.monotonic() - begun - seconds:.1f} s"
    )
    return counts, recorders


def check_that_it_could_fail(recorders):
    """Change one read in what was recorded, to a value that had been there before: the checker has to notice."""
    operations = max(histories(recorders).values(), key=len)
    reads = [at for at, each in enumerate(operations) if each.name == "GET" and (each.result or 0) >= UNIQUE_FROM]
    first, last = (pick(reads, key=lambda at: operations[at].called) for pick in (min, max))
    assert operations[first].result != operations[last].result
    operations[last] = operations[last]._replace(result=operations[first].result)
    assert not Search(operations).is_linearizable()


def test_what_clients_saw_across_kills_is_linearizable(make_daemon):
    counts, recorders = record_history(make_daemon("--log-level", "warning").start(), 3, 0.3, seed=7)
    check_that_it_could_fail(recorders)
    assert counts["ok"] > 50


@pytest.mark.long
def test_what_clients_saw_across_two_hundred_kills_is_linearizable(make_daemon):
    counts, _ = record_history(make_daemon("--log-level", "warning").start(), 200, 0.5, seed=time.time_ns() % 1_000_000)
    assert counts["unknown"] > 0


@pytest.mark.parametrize(
    ("told", "is_right"),
    [
        ([(0, 1, 5), (2, 3, 5), (4, 5, 6)], True),
        ([(0, 9, 5), (2, 3, 6)], True),
        ([(0, 1, 5), (2, 3, 4)], False),
        ([(0, 1, 7), (0, 9, 5), (2, 3, 6), (8, 9, 7)], False),
    ],
)
def test_a_reply_older_than_one_before_it_is_seen(told, is_right):
    if is_right:
        check_revisions(told)
    else:
        with pytest.raises(AssertionError):
            check_revisions(told)
