"""Rights of authenticated clients: prefixes, the changes socket, and an access file that is read again."""

import asyncio
import re
import shutil
import signal
import time

import msgspec
import pytest
import zmq
from support.doors import cpu_seconds, plain
from support.running import eventually

from kvd.client import AsyncClient, Client, Stream
from kvd.commands.changes import Changes
from kvd.errors import Denied, HistoryChanged

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
OWN = {"role": "write", "prefixes": ["user:", "team:"]}


def refusal_of(ask):
    """Return the Denied that something raises."""
    with pytest.raises(Denied) as caught:
        ask()
    return caught.value


def read_keys(sub):
    """Return the keys published up to the next heartbeat but one, which comes within two seconds."""
    topics, beats = [], 0
    while beats < 2:
        topic, body = sub.recv_multipart()
        beats += topic == b"c" and decode(body)[0] == "HEARTBEAT"
        topics += [topic] * (topic != b"c")
    return topics


# Rights of clients


def test_a_user_works_within_its_prefixes_and_is_told_where_they_end(access_daemon, doors, reread):
    reread(ada=OWN)
    with access_daemon.client() as root, Client(access_daemon.commands, keys=doors.keys("ada")) as kv:
        root.set("other:1", "secret")
        kv.set("user:1", "mine")
        assert kv.once().incr("user:n") == 1
        assert [change.key for change in kv.changes(0, "user:")] == [b"user:1", b"user:n"]
        assert list(kv.scan("user:")) == [b"user:1", b"user:n"]
        for ask in (
            lambda: kv.get("other:1"),
            lambda: kv.once().set("other:1", "x"),
            lambda: list(kv.scan()),
            lambda: kv.changes(0),
        ):
            with pytest.raises(Denied, match=r"only keys that begin with 'user:', 'team:' \(see \[ada\]"):
                ask()
        assert root.get("other:1") == b"secret"
        assert root.info("traffic")["traffic"]["denied"] == 4


def test_the_publish_socket_is_for_those_who_may_read_all_keys(access_daemon, doors, reread, context):
    reread(ada=OWN, bob={"role": "read"})
    ada = plain(context, zmq.SUB, access_daemon.changes, doors.keys("ada"), b"", b"kuser:", b"c")
    bob = plain(context, zmq.SUB, access_daemon.changes, doors.keys("bob"), b"kother:", b"ku", b"c")
    assert decode(bob.recv_multipart()[1])[0] == "HEARTBEAT"
    with access_daemon.client() as kv:
        kv.multiset({"user:1": "1", "other:1": "2", "usual": "3", "x": "4"})
        assert read_keys(bob) == [b"kuser:1", b"kother:1", b"kusual"]
        assert not ada.poll(0)
        traffic = kv.info("traffic")["traffic"]
        assert (traffic["watchers"], traffic["topics"]) == (1, 3)
    assert "event=refused_client" not in access_daemon.log.read_text(), "she is no stranger"


def test_a_new_subscription_to_control_gets_a_heartbeat_at_once(access_daemon, doors, context):
    for _ in range(5):
        sub = plain(context, zmq.SUB, access_daemon.changes, doors.keys("root"), b"c", RCVTIMEO=900)
        assert decode(sub.recv_multipart()[1])[0] == "HEARTBEAT"
        sub.close()


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("prefixes", [["other:"], [], ["user:", "other:"], ["user:", "us"]])
def test_a_watch_of_what_one_may_not_read_is_denied_at_its_start(access_daemon, doors, reread, prefixes, snapshot):
    reread(ada=OWN)
    options = {"snapshot": snapshot}
    with Client(access_daemon.commands, keys=doors.keys("ada")) as kv, kv.watch(*prefixes, **options) as watch:
        error = refusal_of(watch.ready)
    assert error.message.startswith("ada may not")


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_watch_of_several_prefixes_brings_each_change_once_in_order(access_daemon, doors, reread, snapshot):
    reread(ada=OWN)
    with access_daemon.client() as root, Client(access_daemon.commands, keys=doors.keys("ada")) as kv:
        root.set("user:0", "0")
        since = None if snapshot else 0
        with kv.watch("team:", "user:", "user:1", since=since, snapshot=snapshot) as watch:
            watch.ready()
            for number in range(1, 3000):
                root.multiset({f"user:{number}": "", f"other:{number}": "", f"team:{number}": ""})
            changes = []
            while not changes or changes[-1].key != b"team:2999":
                changes += watch.take(5)
        expected = [b"user:0"] + [b"%s:%d" % (kind, n) for n in range(1, 3000) for kind in (b"user", b"team")]
        assert sorted(change.key for change in changes) == sorted(expected)
        assert [change.revision for change in changes] == sorted(change.revision for change in changes)


def test_asyncio_watches_the_same(access_daemon, doors, reread):
    reread(ada=OWN)

    async def watch():
        async with AsyncClient(access_daemon.commands, keys=doors.keys("ada")) as kv:
            await kv.set("user:1", "1")
            await kv.set("team:1", "1")
            async with kv.watch("team:", "user:", since=0) as changes:
                seen = [(await anext(changes)).key for _ in range(2)]
            async with kv.watch("other:") as changes:
                with pytest.raises(Denied):
                    await anext(changes)
            return seen

    assert asyncio.run(watch()) == [b"user:1", b"team:1"]


# The file read again


def test_a_bad_file_changes_nothing_and_each_error_is_logged(access_daemon, doors):
    doors.access.write_text('[ada]\nkey = "x"\nrole = "x"\n')
    access_daemon.signal(signal.SIGHUP)
    with access_daemon.client() as kv:
        told = re.compile(r"event=access_kept .*access\.toml:1: \[ada\]")
        eventually(lambda: kv.ping() and len(told.findall(access_daemon.log.read_text())) == 2)


def test_without_keys_a_hangup_ends_nothing(daemon, kv):
    daemon.signal(signal.SIGHUP)
    eventually(lambda: kv.ping() and "event=reloaded" in daemon.log.read_text())
    before = cpu_seconds(daemon)
    time.sleep(1)
    assert cpu_seconds(daemon) - before < 0.5


@pytest.mark.parametrize("before", [{"role": "write"}, OWN])
def test_rights_that_are_taken_end_at_once_over_connections_that_stand(access_daemon, doors, reread, before):
    reread(ada=before)
    with (
        access_daemon.client() as root,
        Client(access_daemon.commands, keys=doors.keys("ada")) as kv,
        kv.watch("user:") as watch,
    ):
        watch.ready()
        kv.set("user:1", "1")
        assert next(watch).key == b"user:1"
        reread(ada={"role": "read", "prefixes": ["team:"]})
        root.set("user:2", "secret")
        for ask in (lambda: kv.get("user:2"), lambda: kv.set("team:1", ""), lambda: next(watch)):
            with pytest.raises(Denied):
                ask()
        reread(eve=OWN)
        with pytest.raises(Denied, match=r"is not \(or no longer\) in access"):
            kv.ping()


def test_a_subscription_that_stands_ends_with_the_right_to_read_all(access_daemon, doors, reread, context):
    reread(ada={"role": "read"})
    sub = plain(context, zmq.SUB, access_daemon.changes, doors.keys("ada"), b"kuser:", b"c")
    assert sub.recv_multipart()[0] == b"c"
    reread(ada=OWN)
    with access_daemon.client() as root:
        root.set("user:1", "secret")
        time.sleep(1.2)
    while sub.poll(0):
        assert sub.recv_multipart()[0] == b"c"
    assert not sub.poll(1200), "not even a heartbeat"


def test_a_watch_goes_over_to_the_journal_and_back_as_its_rights_change(access_daemon, doors, reread):
    reread(ada=OWN)
    seen, states = [], []
    ada = Client(access_daemon.commands, keys=doors.keys("ada"))
    with access_daemon.client() as root, ada as kv, kv.watch("user:", "team:", on_state=states.append) as watch:
        watch.ready()
        for number in range(600):
            root.multiset({f"user:{number}": "", f"x{number}": "", f"team:{number}": ""})
            if number % 200 == 100:
                reread(ada=[{"role": "read"}, OWN][number // 100 % 4 // 2])
            if number % 7 == 0:
                seen += watch.take(0)
        while len(seen) < 1200:
            seen.append(next(watch))
        assert watch.revision >= seen[-1].revision
    assert [change.key for change in seen] == [b"%s:%d" % (k, n) for n in range(600) for k in (b"user", b"team")]
    assert [change.revision for change in seen] == sorted({change.revision for change in seen})


def test_a_watch_without_the_publish_socket_goes_on_across_a_restart(access_daemon, doors, reread):
    reread(ada=OWN)
    ada = Client(access_daemon.commands, keys=doors.keys("ada"), timeout=60)
    with ada as kv, kv.watch("user:") as watch:
        watch.ready()
        for number in range(3):
            kv.set(f"user:{number}", "")
            access_daemon.kill()
            access_daemon.start()
        assert [next(watch).key for _ in range(3)] == [b"user:0", b"user:1", b"user:2"]


def test_a_watch_without_the_publish_socket_tells_another_store(access_daemon, doors, reread):
    reread(ada=OWN)
    states = []
    ada = Client(access_daemon.commands, keys=doors.keys("ada"), timeout=60)
    with ada as kv, kv.watch("user:", on_state=states.append) as watch:
        watch.ready()
        access_daemon.stop()
        shutil.rmtree(access_daemon.data)
        access_daemon.start()
        kv.set("user:0", "of another history, at the same revision")
        with pytest.raises(HistoryChanged):
            next(watch)
    assert states == ["disconnected"]


def test_a_new_key_for_a_name_ends_the_old_keys_rights(access_daemon, doors, reread):
    reread(ada=OWN)
    with Client(access_daemon.commands, keys=doors.keys("ada")) as old:
        old.set("user:1", "1")
        for file in doors.directory.glob("ada.*"):
            file.unlink()
        reread(ada=OWN)
        with pytest.raises(Denied):
            old.get("user:1")
        with Client(access_daemon.commands, keys=doors.keys("ada")) as new:
            assert new.get("user:1") == b"1"


def test_a_watch_whose_rights_stay_goes_on_and_misses_nothing(access_daemon, doors, reread):
    reread(ada=OWN, bob=OWN)
    ada = Client(access_daemon.commands, keys=doors.keys("ada"))
    with access_daemon.client() as root, ada as kv, kv.watch("user:", "team:") as watch:
        watch.ready()
        for number in range(400):
            root.set(f"user:{number}", "")
            if number % 100 == 50:
                reread(ada=OWN, bob={"role": "read", "prefixes": [f"x{number}"]})
        assert [next(watch).key for _ in range(400)] == [b"user:%d" % number for number in range(400)]


def test_changes_that_wait_are_answered_when_the_file_is_read_again(access_daemon, doors, reread):
    reread(ada=OWN)
    with access_daemon.client() as root, Stream(access_daemon.commands, keys=doors.keys("ada")) as stream:
        stream.send(Changes(0, b"user:", None, 30_000), "wait")
        while not root.info("traffic")["traffic"]["waiting"]:
            stream.receive(0.02)  # on a slow machine it takes a while to get there
        reread(ada={"role": "read", "prefixes": ["team:"]})
        [(_, outcome)] = stream.receive(60)
        assert (outcome.revision, outcome.result) == (0, [])
        root.set("user:1", "secret")
        assert stream.receive(0.3) == []
