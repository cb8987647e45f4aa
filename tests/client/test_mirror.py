"""Mirrors of both clients, against a real daemon."""

import asyncio
import contextlib
import gc
import os
import shutil
import threading

import pytest
from support.running import eventually

from kvd import JSON, AsyncClient, Client, KvdError, NotLetIn, Unreachable
from kvd.client import mirror


def mirror_threads():
    return [thread for thread in threading.enumerate() if thread.name == "kvd mirror"]


def test_a_mirror_is_a_mapping_of_a_prefix(kv):
    kv.multiset({"flag:a": "1", "flag:b": "2", "other": "3"})
    with kv.mirror("flag:") as flags:
        assert flags == {b"flag:a": b"1", b"flag:b": b"2"}
        assert (flags["flag:a"], flags[b"flag:b"], len(flags), "flag:a" in flags, "other" in flags, 7 in flags) == (
            *(b"1", b"2", 2, True, False, False),
        )
        assert (list(flags), list(flags.items()), list(flags.values())) == (
            [b"flag:a", b"flag:b"],
            [(b"flag:a", b"1"), (b"flag:b", b"2")],
            [b"1", b"2"],
        )
        assert flags.get("flag:none") is None
        with pytest.raises(KeyError, match="flag:none"):
            _ = flags["flag:none"]
        with pytest.raises(TypeError):
            flags["flag:a"] = b"2"
        assert "Mirror at revision" in repr(flags)


def test_a_mirror_follows(kv):
    seen = []
    kv.set("flag:a", "1")
    with kv.mirror("flag:", on_change=seen.append) as flags:
        kv.set("flag:b", "2")
        kv.clear("flag:a")
        kv.set("flag:c", "3", ttl=0.2)
        eventually(lambda: flags == {b"flag:b": b"2", b"flag:c": b"3"} or len(seen) >= 5)
        eventually(lambda: flags == {b"flag:b": b"2"})
        eventually(lambda: flags.revision == kv.with_revision().ping()[1])
        eventually(lambda: len(seen) == 5)
    assert [(change.kind, change.key) for change in seen] == [
        ("SET", b"flag:a"),
        ("SET", b"flag:b"),
        ("CLEAR", b"flag:a"),
        ("SET", b"flag:c"),
        ("EXPIRED", b"flag:c"),
    ]


def test_several_prefixes_and_all_keys(kv):
    kv.multiset({"a:1": "1", "b:1": "2", "c:1": "3"})
    with kv.mirror("a:", "c:") as some, kv.mirror() as everything:
        assert list(some) == [b"a:1", b"c:1"]
        assert len(everything) == 3


def test_keys_and_values_go_through_the_codec_of_the_client(daemon, kv):
    kv.multiset({"flag:a": '{"on": true}', "flag:b": "not JSON"})
    seen = []
    with Client(daemon.commands, codec=JSON) as structured, structured.mirror("flag:") as flags:
        assert flags["flag:a"] == {"on": True}
        flags["flag:a"]["on"] = False
        assert flags["flag:a"] == {"on": True}  # nobody's to change
        with pytest.raises(ValueError, match="Expecting value"):
            _ = flags["flag:b"]
        assert len(flags) == 2
    with Client(daemon.commands, decode="utf-8") as text, text.mirror("flag:a", on_change=seen.append) as flags:
        assert flags.copy() == {"flag:a": '{"on": true}'}
        eventually(lambda: seen)
        assert (seen[0].key, seen[0].value) == ("flag:a", '{"on": true}')


def test_the_first_read_waits_for_the_entries(kv):
    kv.multiset({f"flag:{number:05}": "x" for number in range(9_000)})
    flags = kv.mirror("flag:")
    assert len(flags) == 9_000
    assert flags.ready() == 9_000
    flags.close()
    with pytest.raises(KvdError, match="closed"):
        _ = flags["flag:00001"]
    flags.close()
    assert mirror_threads() == []


def test_while_the_daemon_is_away_a_mirror_serves_what_it_has(make_daemon):
    daemon = make_daemon().start()
    with daemon.client(timeout=30) as kv:
        kv.set("flag:a", "1")
        with kv.mirror("flag:") as flags:
            daemon.kill()
            assert flags["flag:a"] == b"1"
            daemon.start()
            kv.set("flag:a", "2")
            eventually(lambda: flags["flag:a"] == b"2")


def test_a_restored_daemon_and_a_compacted_journal_are_read_anew(make_daemon):
    daemon = make_daemon().start()
    seen = []
    with daemon.client(timeout=30) as kv:
        kv.multiset({"flag:a": "1", "flag:gone": "2"})
        with kv.mirror("flag:", on_change=seen.append) as flags:
            assert len(flags) == 2
            daemon.kill()
            shutil.rmtree(daemon.data)
            daemon.start()
            kv.set("flag:new", "3")
            eventually(lambda: flags == {b"flag:new": b"3"})
            eventually(lambda: len(seen) >= 5)
            daemon.stop()
            with Client(daemon.commands, timeout=30) as other:
                daemon.start()
                other.multiset({f"flag:{number}": "x" for number in range(10)})
                other.compact(5)
            eventually(lambda: len(flags) == 11)
    assert sorted((change.kind, change.key) for change in seen[2:5]) == [
        ("CLEAR", b"flag:a"),
        ("CLEAR", b"flag:gone"),
        ("SET", b"flag:new"),
    ]


def test_compacted_begins_anew(kv, monkeypatch):
    """The watch says Compacted once, as a daemon does that forgot the changes while a mirror was away."""
    watches = []

    class Forgotten(mirror.Watch):
        def take(self, wait_s=None):
            if self is watches[0] and self._subscription.is_ready:
                raise mirror.Compacted("gone", compacted=5)
            return super().take(wait_s)

    def make(*args, **options):
        watches.append(Forgotten(*args, **options))
        return watches[-1]

    monkeypatch.setattr("kvd.client.sync.Watch", make)
    kv.set("flag:a", "1")
    with kv.mirror("flag:") as flags:
        eventually(lambda: len(watches) == 2)
        kv.clear("flag:a")
        eventually(lambda: not flags)


def test_without_a_daemon_a_mirror_says_so_and_comes_up_with_it(make_daemon):
    daemon = make_daemon()
    with daemon.client(timeout=0.5) as hasty, pytest.raises(Unreachable), hasty.mirror("flag:"):
        pytest.fail("there is no daemon")
    assert mirror_threads() == []
    with daemon.client(timeout=0.5) as hasty:
        flags = hasty.mirror("flag:")
        with pytest.raises(KvdError):
            _ = flags["flag:a"]
        daemon.start()
        assert flags.ready(30) == 0
        flags.close()


def test_what_ends_a_mirror_is_raised_by_each_read(kv, monkeypatch):
    def refuse(_):
        raise RuntimeError("broken callback")

    kv.set("flag:a", "1")
    flags = kv.mirror("flag:", on_change=refuse)
    eventually(lambda: not mirror_threads())
    for read in (flags.ready, lambda: flags["flag:a"], lambda: len(flags)):
        with pytest.raises(KvdError, match="broken callback"):
            read()
    flags.close()

    def deny(*_, **__):
        raise NotLetIn("no key")

    monkeypatch.setattr("kvd.client.sync.Watch", deny)
    with pytest.raises(NotLetIn), kv.mirror("flag:"):
        pytest.fail("it was let in")


def test_threads_may_read_while_it_changes(kv):
    kv.multiset({f"flag:{number}": "x" for number in range(300)})
    stop = threading.Event()

    def write():
        with Client(kv.endpoint) as other:
            while not stop.is_set():
                other.clear_prefix("flag:1")
                other.multiset({f"flag:1{number}": "y" for number in range(50)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with kv.mirror("flag:") as flags:
            for _ in range(300):
                assert len(dict(flags.items())) >= 188
                assert set(flags.values()) <= {b"x", b"y"}
                assert len(list(flags)) >= 188
    finally:
        stop.set()
        writer.join()


def test_a_callback_may_close_its_mirror(kv):
    closed = threading.Event()

    def close(_):
        flags.close()
        closed.set()

    flags = kv.mirror("flag:", on_change=close)
    kv.set("flag:a", "1")
    assert closed.wait(20)
    eventually(lambda: not mirror_threads())


def test_a_mirror_that_is_dropped_ends_its_thread(kv):
    flags = kv.mirror("flag:")
    flags.ready()
    del flags
    gc.collect()
    eventually(lambda: not mirror_threads())


def test_a_forked_child_follows_by_itself(kv):
    kv.set("flag:a", "1")
    with kv.mirror("flag:") as flags:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write)
            os.read(read, 1)  # the parent has set it to 2
            flags.ready()
            value = flags["flag:a"]
            flags.close()
            os._exit(int(value))
        kv.set("flag:a", "2")
        os.close(write)
        os.close(read)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
        kv.set("flag:a", "3")
        eventually(lambda: flags["flag:a"] == b"3")


def run(daemon, body, **options):
    async def main():
        async with AsyncClient(daemon.commands, **options) as kv:
            await asyncio.wait_for(body(kv), 60)

    asyncio.run(main())


def test_asyncio_mirrors(daemon, kv):
    kv.multiset({"flag:a": "1", "flag:b": "2"})

    async def body(kv):
        changes = asyncio.Queue()
        async with kv.mirror("flag:", on_change=changes.put_nowait) as flags:
            assert flags.copy() == {"flag:a": "1", "flag:b": "2"}
            await kv.clear("flag:a")
            while (await changes.get()).kind != "CLEAR":
                pass
            assert list(flags) == ["flag:b"]
            assert flags.revision == 3
        with pytest.raises(KvdError, match="closed"):
            len(flags)
        early = kv.mirror("flag:")
        with pytest.raises(KvdError, match="await its ready"):
            len(early)
        assert await early.ready() == 3
        assert len(early) == 1
        await early.close()
        assert [task for task in asyncio.all_tasks() if task.get_name() == "kvd mirror"] == []

    run(daemon, body, decode="utf-8")


def test_an_asyncio_mirror_is_read_anew_after_a_restore(make_daemon):
    daemon = make_daemon().start()

    async def body(kv):
        changes = asyncio.Queue()
        await kv.set("flag:gone", "1")
        async with kv.mirror("flag:", on_change=changes.put_nowait) as flags:
            await changes.get()
            daemon.kill()
            assert flags["flag:gone"] == b"1"
            shutil.rmtree(daemon.data)
            daemon.start()
            await kv.set("flag:new", "2")
            seen = [await changes.get() for _ in range(2)]
            assert sorted((change.kind, change.key) for change in seen) == [
                ("CLEAR", b"flag:gone"),
                ("SET", b"flag:new"),
            ]
            assert flags.copy() == {b"flag:new": b"2"}

    run(daemon, body, timeout=30)


def test_what_ends_an_asyncio_mirror_is_raised(make_daemon):
    daemon = make_daemon()

    async def nobody(kv):
        with pytest.raises(Unreachable):
            async with kv.mirror("flag:"):
                pytest.fail("there is no daemon")

    run(daemon, nobody, timeout=0.5)
    daemon.start()

    async def broken(kv):
        await kv.set("flag:a", "1")

        def refuse(_):
            raise RuntimeError("broken callback")

        flags = kv.mirror("flag:", on_change=refuse)
        with contextlib.suppress(KvdError):  # it may have ended before we look
            await flags.ready()
        await asyncio.gather(*[task for task in asyncio.all_tasks() if task.get_name() == "kvd mirror"])
        with pytest.raises(KvdError, match="broken callback"):
            len(flags)
        await flags.close()
        dropped = kv.mirror("flag:")
        await dropped.ready()
        [task] = [task for task in asyncio.all_tasks() if task.get_name() == "kvd mirror"]
        del dropped
        gc.collect()
        await asyncio.wait([task])

    run(daemon, broken)
