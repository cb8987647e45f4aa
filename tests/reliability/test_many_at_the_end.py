"""SIGTERM while many clients write and wait, and a large fold is at hand: the end is soon and loses nothing (R17)."""

import contextlib
import signal
import threading
import time

import pytest
from support.running import eventually

from kvd.client import Client
from kvd.errors import ClientError, Refused
from kvd.limits import FOLD_CHANGES


def write(endpoint, number, okd, stop):
    """Set keys of our own until the daemon ends; note those that were OK'd."""
    count = 0
    with Client(endpoint, timeout=1) as kv:
        while not stop.is_set():
            count += 1
            with contextlib.suppress(ClientError, Refused):
                kv.set(f"w{number}:{count}", "x")
                okd.append(f"w{number}:{count}")


def wait_for_changes(endpoint, told):
    """Ask for changes that never come; what ends the wait is noted."""
    with Client(endpoint, timeout=5) as kv:
        try:
            kv.changes(kv.info("server")["server"]["revision"], "nobody", wait=30)
        except (ClientError, Refused) as error:
            told.append(error)


@pytest.mark.parametrize("filled", [0, FOLD_CHANGES + 10_000])
def test_many_clients_and_a_fold_at_hand_do_not_hold_up_the_end(daemon, filled):
    if filled:
        with daemon.client(timeout=30) as kv, kv.pipeline() as pipeline:
            for first in range(0, filled, 500):  # more than FOLD_CHANGES: the fold is at work
                pipeline.multiset({f"fill:{number}": "x" * 100 for number in range(first, first + 500)})
    okd, told, stop = [[] for _ in range(12)], [], threading.Event()
    threads = [threading.Thread(target=write, args=(daemon.commands, n, okd[n], stop)) for n in range(12)]
    threads += [threading.Thread(target=wait_for_changes, args=(daemon.commands, told)) for _ in range(3)]
    for thread in threads:
        thread.start()
    with daemon.client(timeout=30) as kv:
        eventually(lambda: kv.info("traffic")["traffic"]["waiting"] == 3)
        eventually(lambda: all(okd))
    daemon.signal(signal.SIGTERM)
    begun = time.monotonic()
    assert daemon.process.wait(30) == 0
    seconds = time.monotonic() - begun
    stop.set()
    for thread in threads:
        thread.join()
    assert not [path for path in daemon.directory.iterdir() if path.suffix == ".sock"]
    assert [getattr(error, "code", error) for error in told] == ["SHUTTING_DOWN"] * 3
    daemon.start()
    with daemon.client(timeout=30) as kv:
        assert kv.count("fill:") == filled
        assert {key.encode() for keys in okd for key in keys} <= set(kv.scan("w"))
    print(f"R17: the end took {seconds:.2f} s with {sum(map(len, okd))} writes OK'd")
