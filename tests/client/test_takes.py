"""Workers of a queue over real connections: each key comes to one of them. Walks of ranges, of both clients."""

import asyncio
import threading
import time

import pytest
from support.proxy import Proxy

from kvd.client import Client
from kvd.client.aio import AsyncClient
from kvd.client.prefix_methods import scan_command
from kvd.commands.atomic import Once
from kvd.commands.inspection import Clients
from kvd.commands.values import TakeFirst
from kvd.errors import Conflict, OutcomeUnknown

KEYS = 60


def work(endpoint, taken, workers_waiting):
    """Take keys until the one that ends it comes."""
    with Client(endpoint, timeout=60) as kv:
        workers_waiting.release()
        while (found := kv.once().take_first("job:", wait=30)) is not None:
            if found[1] == b"end":
                return
            taken.append(found)


def test_each_key_comes_to_one_of_many_workers(daemon, kv):
    taken, waiting = [], threading.Semaphore(0)
    workers = [threading.Thread(target=work, args=(daemon.commands, taken, waiting)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for _ in workers:
        waiting.acquire()
    for number in range(KEYS):
        kv.set(f"job:{number:03}", str(number))
    kv.multiset({f"job:z{number}": "end" for number in range(4)})
    for worker in workers:
        worker.join()
    assert sorted(taken) == [(b"job:%03d" % number, b"%d" % number) for number in range(KEYS)]
    assert kv.count("job:") == 0


def until_waiting(kv, count):
    while kv.info("traffic")["traffic"]["waiting"] != count:
        time.sleep(0.01)


def test_a_client_that_is_gone_while_it_waits_takes_nothing(daemon, kv):
    def wait():
        with Client(proxy.endpoint) as through, pytest.raises(OutcomeUnknown):
            through.take_first("job:", wait=60)

    with Proxy(daemon.commands) as proxy:
        waiter = threading.Thread(target=wait)
        waiter.start()
        until_waiting(kv, 1)
    waiter.join()
    while len(kv.run(Clients())) > 1:
        time.sleep(0.01)
    kv.set("job:1", "a")
    assert kv.take_first("job:", wait=5) == (b"job:1", b"a")


def test_asyncio_takes_while_others_work(daemon):
    async def main():
        async with AsyncClient(daemon.commands) as kv:
            waiting = [asyncio.create_task(kv.take_first("job:", wait=30)) for _ in range(3)]
            await kv.multiset({"job:1": "a", "job:2": "b", "other": "c"})
            await kv.set("job:3", "d")
            return sorted(await asyncio.gather(*waiting)), await kv.take_first("job:")

    assert asyncio.run(main()) == ([(b"job:1", b"a"), (b"job:2", b"b"), (b"job:3", b"d")], None)


def test_a_wait_may_be_longer_than_the_timeout(daemon):
    with Client(daemon.commands, timeout=0.2) as kv:
        kv.ping()
        assert kv.take_first("none", wait=0.5) is None


@pytest.mark.parametrize("command", [TakeFirst(b"job:", 60_000), Once(b"token--1", TakeFirst(b"job:", 60_000))])
def test_a_take_that_waits_in_a_pipeline_does_not_take_the_reply_of_another_command(kv, command):
    with kv.pipeline() as p:
        p.run(command)
        p.set("a", "1")
        p.get("a")
        p.set("job:1", "b")
    assert p.results == [[b"job:1", b"b"], None, b"1", None]


def test_a_write_is_refused_when_the_entry_has_moved(kv):
    kv.set("a", "1")
    revision = kv.entry("a").revision
    kv.set("a", "2")
    for write in (
        lambda: kv.clear("a", revision=revision),
        lambda: kv.take("a", revision=revision),
        lambda: kv.expire("a", 5, revision=revision),
        lambda: kv.persist("a", revision=revision),
    ):
        with pytest.raises(Conflict, match=f"the key is at revision {revision + 1}, not {revision}"):
            write()
    assert kv.clear("a", revision=revision + 1) == 1


RANGES = [
    ({}, [b"a", b"b1", b"b2", b"c"]),
    ({"prefix": "b"}, [b"b1", b"b2"]),
    ({"start": "b1", "stop": "c"}, [b"b1", b"b2"]),
    ({"start": "b2", "reverse": True}, [b"c", b"b2"]),
    ({"prefix": "b", "stop": "b2", "reverse": True}, [b"b1"]),
    ({"start": "d"}, []),
]


@pytest.mark.parametrize("page", [1, 100])
@pytest.mark.parametrize(("options", "keys"), RANGES)
def test_a_walk_of_a_range_is_the_same_in_pages_of_any_size(daemon, kv, monkeypatch, options, keys, page):
    monkeypatch.setitem(scan_command.__kwdefaults__, "limit", page)
    kv.multiset({"a": "1", "b1": "2", "b2": "3", "c": "4"})
    kv.expire("c", 1000)
    entries = list(kv.entries(**options))
    assert [entry.key for entry in entries] == list(kv.scan(**options)) == keys
    assert [(entry.key, entry.value) for entry in entries] == list(kv.items(**options))
    for entry in entries:
        facts = kv.entry(entry.key)
        assert (entry.revision, entry.expires) == (facts.revision, facts.expires)
    found, after = [], None
    while True:
        keys_of_page, after = kv.scan_page(after=after, limit=page, **options)
        found += keys_of_page
        if after is None:
            break
    assert found == keys
    assert asyncio.run(walk(daemon, options)) == (keys, entries)


async def walk(daemon, options):
    async with AsyncClient(daemon.commands) as kv:
        return [key async for key in kv.scan(**options)], [entry async for entry in kv.entries(**options)]
