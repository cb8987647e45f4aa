"""A daemon with keys, from outside: who gets in, who hears what, and what a SIGHUP changes (S1, S2, S3, S5, S8)."""

import asyncio
import shutil
import signal
import stat
import subprocess
import sys
import time

import msgspec
import pytest
import zmq
from doors import cpu_seconds

from kvd.client import AsyncClient, Client
from kvd.client.keys import Keys
from kvd.commands.changes import Changes
from kvd.errors import Denied, HistoryChanged, NotLetIn, Unreachable

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
OWN = {"role": "write", "prefixes": ["user:", "team:"]}


def serve(*arguments):
    """Run `kvd serve` to its end; return exit code and what it said."""
    command = [sys.executable, "-m", "kvd", "serve", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return process.returncode, process.stderr


def plain(context, kind, endpoint, keys=None, *topics, **options):
    """Return a connected plain socket with keys."""
    sock = context.socket(kind)
    sock.set(zmq.LINGER, 0)
    sock.set(zmq.RCVTIMEO, 5000)
    for name, value in options.items():
        sock.set(getattr(zmq, name), value)
    if keys is not None:
        sock.set(zmq.CURVE_PUBLICKEY, keys.public)
        sock.set(zmq.CURVE_SECRETKEY, keys.secret)
        sock.set(zmq.CURVE_SERVERKEY, keys.server)
    sock.connect(endpoint)
    for topic in topics:
        sock.set(zmq.SUBSCRIBE, topic)
    return sock


def refusal_of(ask):
    """Return the Denied that something raises."""
    with pytest.raises(Denied) as caught:
        ask()
    return caught.value


def heard(sub):
    """Return the keys published up to the next heartbeat but one, which comes within two seconds."""
    topics, beats = [], 0
    while beats < 2:
        topic, body = sub.recv_multipart()
        beats += topic == b"c" and decode(body)[0] == "HEARTBEAT"
        topics += [topic] * (topic != b"c")
    return topics


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


# Starting


@pytest.mark.parametrize("which", ["--listen", "--publish"])
def test_an_address_others_reach_needs_keys_and_what_to_type_is_said(tmp_path, which):
    code, said = serve("--data", tmp_path / "d", which, "tcp://0.0.0.0:7999")
    assert code == 78
    assert "kvd keygen daemon" in said
    assert "kvd serve --key daemon.key_secret --access access.toml --listen tcp://0.0.0.0:7999" in said


@pytest.mark.parametrize("keep", [0, 2])
def test_one_option_without_the_other_is_refused(tmp_path, doors, keep):
    code, said = serve("--data", tmp_path / "d", *doors.options[keep : keep + 2])
    assert (code, "--key and --access go together" in said) == (78, True)


def test_what_is_wrong_with_the_files_is_said_before_anything_is_opened(tmp_path, doors):
    doors.access.write_text('[ada]\nrole = "reed"\n')
    code, said = serve("--data", tmp_path / "d", *doors.options)
    assert (code, len(said.splitlines())) == (78, 2)
    assert "access.toml:1: [ada] needs a role" in said
    assert not (tmp_path / "d").exists()
    doors.access.unlink()
    assert serve("--data", tmp_path / "d", *doors.options)[0] == 78
    doors.access.write_bytes(b"\xff")
    assert "is no UTF-8" in serve("--data", tmp_path / "d", *doors.options)[1]
    options = ["--key", doors.directory / "daemon.key", *doors.options[2:]]
    assert "has no secret key" in serve("--data", tmp_path / "d", *options)[1]
    options = ["--key", doors.access, *doors.options[2:]]
    assert "is no CURVE certificate" in serve("--data", tmp_path / "d", *options)[1]


def test_with_keys_it_listens_wherever_it_is_told(tmp_path, doors):
    ends = ["--listen", "tcp://0.0.0.0:*", "--publish", "tcp://*:*"]
    command = [sys.executable, "-m", "kvd", "serve", "--data", str(tmp_path / "d"), *doors.options, *ends]
    (doors.directory / "daemon.key_secret").chmod(0o644)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert "event=readable_key" in process.stderr.readline()
        words = dict(word.split("=", 1) for word in process.stderr.readline().split()[1:] if "=" in word)
        endpoint = words["commands"].replace("0.0.0.0", "127.0.0.1")
        with Client(endpoint, keys=doors.keys("root")) as kv, kv.watch() as watch:
            watch.ready()
            kv.set("a", "1")
            assert next(watch).key == b"a"
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stderr.close()


def test_sockets_and_secrets_are_for_their_owner_only(guarded, doors):
    for path in (guarded.directory / "c.sock", guarded.directory / "p.sock", doors.directory / "root.key_secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Who gets in


def test_whoever_has_no_key_or_another_gets_nothing_and_hears_why(guarded, doors):
    good, eve = doors.keys("root"), doors.keys("eve")
    wrong_secret = Keys(good.public, eve.secret, good.server)
    wrong_server = doors.keys("root", server="eve")
    for keys, why in [
        (None, "what is there ends the handshake: it may want keys"),
        (wrong_server, "it may have another key than we trust"),
        (wrong_secret, "another key than we trust|does not let in"),
        (eve, "the daemon does not let in our key"),
    ]:
        with Client(guarded.commands, timeout=0.5, keys=keys) as kv, pytest.raises(NotLetIn, match=why):
            kv.ping()
    with guarded.client() as kv:
        assert kv.ping() == b"PONG"
        assert kv.info("traffic")["traffic"]["calls"].keys() <= {"PING", "INFO"}
    assert f"event=refused_client key={eve.public.decode()}" in guarded.log.read_text()


def test_a_client_with_keys_hears_that_a_daemon_wants_none(daemon, doors):
    with Client(daemon.commands, timeout=1, keys=doors.keys("root")) as kv, pytest.raises(NotLetIn, match="want none"):
        kv.ping()


@pytest.mark.parametrize("endpoint", ["commands", "changes"])
@pytest.mark.parametrize("mechanism", ["null", "plain", "unlisted"])
def test_no_mechanism_but_curve_with_a_listed_key_is_served(guarded, doors, context, endpoint, mechanism):
    options = {"PLAIN_USERNAME": b"root", "PLAIN_PASSWORD": b"root"} if mechanism == "plain" else {}
    keys = doors.keys("eve") if mechanism == "unlisted" else None
    kind = zmq.DEALER if endpoint == "commands" else zmq.SUB
    topics = [] if endpoint == "commands" else [b"", b"c"]
    sock = plain(context, kind, getattr(guarded, endpoint), keys, *topics, **options)
    if endpoint == "commands":
        sock.send_multipart([b"", encode(["SET", b"a", b"1"])])
    with guarded.client() as kv:
        kv.set("b", "2")
        assert not sock.poll(1200), "a heartbeat comes each second"
        assert kv.get("a") is None


def test_a_refused_client_gets_in_as_soon_as_the_file_names_it(guarded, doors, reread):
    with Client(guarded.commands, keys=doors.keys("ada")) as kv:
        with pytest.raises(NotLetIn):
            kv.ping()
        reread(ada={"role": "read"})
        assert kv.ping() == b"PONG"


def test_refusals_are_logged_but_not_each_of_a_flood(guarded, doors):
    keys = doors.keys("eve")
    for _ in range(30):
        with Client(guarded.commands, keys=keys) as kv, pytest.raises(Unreachable):
            kv.ping()
    assert guarded.log.read_text().count("event=refused_client") == 10


def test_the_same_routing_id_twice_crosses_nothing_and_is_nobody(guarded, doors, reread, context):
    """libzmq lets the second one with an id hang; its commands do not run as the first one's, or at all."""
    reread(ada={"role": "read"})
    first = plain(context, zmq.DEALER, guarded.commands, doors.keys("root"), IDENTITY=b"same")
    first.send_multipart([b"1", b"", encode(["SET", b"a", b"1"])])
    assert first.recv_multipart()[0] == b"1"
    second = plain(context, zmq.DEALER, guarded.commands, doors.keys("ada"), IDENTITY=b"same")
    second.send_multipart([b"2", b"", encode(["SET", b"a", b"2"])])
    first.send_multipart([b"3", b"", encode(["GET", b"a"])])
    assert first.recv_multipart()[0] == b"3"
    assert not first.poll(300)
    assert not second.poll(0)
    first.close()
    third = plain(context, zmq.DEALER, guarded.commands, doors.keys("ada"), IDENTITY=b"another")
    third.send_multipart([b"4", b"", encode(["SET", b"a", b"3"])])
    assert decode(third.recv_multipart()[-1])[:2] == ["ERROR", "DENIED"]
    with guarded.client() as kv:
        assert kv.get("a") == b"1"


# What they may


def test_a_user_works_within_its_prefixes_and_is_told_where_they_end(guarded, doors, reread):
    reread(ada=OWN)
    with guarded.client() as root, Client(guarded.commands, keys=doors.keys("ada")) as kv:
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


def test_the_publish_socket_is_for_those_who_may_read_all_keys(guarded, doors, reread, context):
    reread(ada=OWN, bob={"role": "read"})
    ada = plain(context, zmq.SUB, guarded.changes, doors.keys("ada"), b"", b"kuser:", b"c")
    bob = plain(context, zmq.SUB, guarded.changes, doors.keys("bob"), b"kother:", b"ku", b"c")
    assert decode(bob.recv_multipart()[1])[0] == "HEARTBEAT"
    with guarded.client() as kv:
        kv.multiset({"user:1": "1", "other:1": "2", "usual": "3", "x": "4"})
        assert heard(bob) == [b"kuser:1", b"kother:1", b"kusual"]
        assert not ada.poll(0)
        traffic = kv.info("traffic")["traffic"]
        assert (traffic["watchers"], traffic["topics"]) == (1, 3)
    assert "event=refused_client" not in guarded.log.read_text(), "she is no stranger"


def test_a_new_subscription_to_control_gets_a_heartbeat_at_once(guarded, doors, context):
    for _ in range(5):
        sub = plain(context, zmq.SUB, guarded.changes, doors.keys("root"), b"c", RCVTIMEO=900)
        assert decode(sub.recv_multipart()[1])[0] == "HEARTBEAT"
        sub.close()


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("prefixes", [["other:"], [], ["user:", "other:"], ["user:", "us"]])
def test_a_watch_of_what_one_may_not_read_is_denied_at_its_start(guarded, doors, reread, prefixes, snapshot):
    reread(ada=OWN)
    options = {"snapshot": snapshot}
    with Client(guarded.commands, keys=doors.keys("ada")) as kv, kv.watch(*prefixes, **options) as watch:
        error = refusal_of(watch.ready)
    assert error.message.startswith("ada may not")


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_watch_of_several_prefixes_brings_each_change_once_in_order(guarded, doors, reread, snapshot):
    reread(ada=OWN)
    with guarded.client() as root, Client(guarded.commands, keys=doors.keys("ada")) as kv:
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


def test_asyncio_watches_the_same(guarded, doors, reread):
    reread(ada=OWN)

    async def watch():
        async with AsyncClient(guarded.commands, keys=doors.keys("ada")) as kv:
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


def test_a_bad_file_changes_nothing_and_each_error_is_logged(guarded, doors):
    doors.access.write_text('[ada]\nkey = "x"\nrole = "x"\n')
    guarded.signal(signal.SIGHUP)
    with guarded.client() as kv:
        while guarded.log.read_text().count("event=access_kept access.toml:1: [ada]") < 2:
            kv.ping()


def test_without_keys_a_hangup_ends_nothing(daemon, kv):
    daemon.signal(signal.SIGHUP)
    while "event=sighup" not in daemon.log.read_text():
        assert kv.ping() == b"PONG"
    before = cpu_seconds(daemon)
    time.sleep(1)
    assert cpu_seconds(daemon) - before < 0.5


@pytest.mark.parametrize("before", [{"role": "write"}, OWN])
def test_rights_that_are_taken_end_at_once_over_connections_that_stand(guarded, doors, reread, before):
    reread(ada=before)
    with guarded.client() as root, Client(guarded.commands, keys=doors.keys("ada")) as kv, kv.watch("user:") as watch:
        watch.ready()
        kv.set("user:1", "1")
        assert next(watch).key == b"user:1"
        reread(ada={"role": "read", "prefixes": ["team:"]})
        root.set("user:2", "secret")
        for ask in (lambda: kv.get("user:2"), lambda: kv.set("team:1", ""), lambda: next(watch)):
            with pytest.raises(Denied):
                ask()
        reread(eve=OWN)
        with pytest.raises(Denied, match="is not, or no longer, in access"):
            kv.ping()


def test_a_subscription_that_stands_ends_with_the_right_to_read_all(guarded, doors, reread, context):
    reread(ada={"role": "read"})
    sub = plain(context, zmq.SUB, guarded.changes, doors.keys("ada"), b"kuser:", b"c")
    assert sub.recv_multipart()[0] == b"c"
    reread(ada=OWN)
    with guarded.client() as root:
        root.set("user:1", "secret")
        time.sleep(1.2)
    while sub.poll(0):
        assert sub.recv_multipart()[0] == b"c"
    assert not sub.poll(1200), "not even a heartbeat"


def test_a_watch_goes_over_to_the_journal_and_back_as_its_rights_change(guarded, doors, reread):
    reread(ada=OWN)
    seen, states = [], []
    ada = Client(guarded.commands, keys=doors.keys("ada"))
    with guarded.client() as root, ada as kv, kv.watch("user:", "team:", on_state=states.append) as watch:
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


def test_a_watch_without_the_publish_socket_goes_on_across_a_restart(guarded, doors, reread):
    reread(ada=OWN)
    ada = Client(guarded.commands, keys=doors.keys("ada"), timeout=20)
    with ada as kv, kv.watch("user:") as watch:
        watch.ready()
        for number in range(3):
            kv.set(f"user:{number}", "")
            guarded.kill()
            guarded.start()
        assert [next(watch).key for _ in range(3)] == [b"user:0", b"user:1", b"user:2"]


def test_a_watch_without_the_publish_socket_tells_another_store(guarded, doors, reread):
    reread(ada=OWN)
    states = []
    ada = Client(guarded.commands, keys=doors.keys("ada"), timeout=20)
    with ada as kv, kv.watch("user:", on_state=states.append) as watch:
        watch.ready()
        guarded.stop()
        shutil.rmtree(guarded.data)
        guarded.start()
        kv.set("user:0", "of another history, at the same revision")
        with pytest.raises(HistoryChanged):
            next(watch)
    assert states == ["disconnected"]


def test_a_new_key_for_a_name_ends_the_old_keys_rights(guarded, doors, reread):
    reread(ada=OWN)
    with Client(guarded.commands, keys=doors.keys("ada")) as old:
        old.set("user:1", "1")
        for file in doors.directory.glob("ada.*"):
            file.unlink()
        reread(ada=OWN)
        with pytest.raises(Denied):
            old.get("user:1")
        with Client(guarded.commands, keys=doors.keys("ada")) as new:
            assert new.get("user:1") == b"1"


def test_a_watch_whose_rights_stay_goes_on_and_misses_nothing(guarded, doors, reread):
    reread(ada=OWN, bob=OWN)
    ada = Client(guarded.commands, keys=doors.keys("ada"))
    with guarded.client() as root, ada as kv, kv.watch("user:", "team:") as watch:
        watch.ready()
        for number in range(400):
            root.set(f"user:{number}", "")
            if number % 100 == 50:
                reread(ada=OWN, bob={"role": "read", "prefixes": [f"x{number}"]})
        assert [next(watch).key for _ in range(400)] == [b"user:%d" % number for number in range(400)]


def test_changes_that_wait_are_answered_when_the_file_is_read_again(guarded, doors, reread):
    reread(ada=OWN)
    with guarded.client() as root, Client(guarded.commands, keys=doors.keys("ada")) as kv:
        kv.stream.send(Changes(0, b"user:", None, 30_000), "wait")
        kv.stream.receive(0.2)
        while not root.info("traffic")["traffic"]["waiting"]:
            pass
        reread(ada={"role": "read", "prefixes": ["team:"]})
        [(_, outcome)] = kv.stream.receive(5)
        assert (outcome.revision, outcome.result) == (0, [])
        root.set("user:1", "secret")
        assert kv.stream.receive(0.3) == []


# The log


def test_the_log_at_debug_tells_no_value_and_no_secret(guarded, doors, reread):
    reread(ada=OWN)
    ada = doors.keys("ada")
    with Client(guarded.commands, keys=ada) as kv, guarded.client() as root, kv.watch("user:", since=0) as watch:
        kv.set("user:1", "a value nobody may see")
        kv.once().set("user:2", "a value nobody may see")
        with pytest.raises(Denied):
            kv.set("other:1", "a value nobody may see")
        root.set("x", "a value nobody may see", ttl=0.01)
        next(watch)
        while root.get("x"):
            pass
    with Client(guarded.commands, keys=doors.keys("eve")) as kv, pytest.raises(NotLetIn):
        kv.ping()
    guarded.stop()
    log = guarded.log.read_text()
    assert "event=access_read" in log
    assert "a value" not in log
    for keys in (ada, doors.keys("daemon"), doors.keys("root"), doors.keys("eve")):
        assert keys.secret.decode() not in log


# The shell


def kvsh(daemon, *arguments):
    """Run kvsh against a daemon; return exit code, output and messages."""
    command = [sys.executable, "-m", "kvsh", "--url", daemon.commands, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_shell_works_with_keys_and_says_what_is_wrong_without(guarded, doors, reread):
    reread(ada=OWN)
    server = ["--server-key", doors.directory / "daemon.key"]
    keys = ["--key", doors.make("ada"), *server]
    assert kvsh(guarded, *keys, "set", "user:1", "x")[:2] == (0, "OK\n")
    code, _, said = kvsh(guarded, *keys, "get", "other:1")
    own = "only keys that begin with 'user:', 'team:' (see [ada] in access.toml)"
    assert (code, said) == (4, f"kvsh: DENIED: ada may not GET 'other:1': {own}\n")
    code, _, said = kvsh(guarded, *keys, "watch", "other:")
    assert (code, "DENIED: ada may not CHANGES 'other:'" in said) == (4, True)
    code, _, said = kvsh(guarded, "--timeout", "1", "get", "user:1")
    assert (code, "it may want keys: see --key and --server-key" in said) == (3, True), said
    code, _, said = kvsh(guarded, "--key", doors.make("eve"), *server, "get", "user:1")
    assert (code, "the daemon does not let in our key: see --key and --server-key" in said) == (3, True), said
