"""The NATS bridge beside a real nats-server: every change, in order, at least once, after any kill."""

import contextlib
import json
import socket
import threading

import pytest
from support.nats_rig import Ear, NatsServer, in_stream
from support.running import eventually, run_kvd

CHANGES = 2_000


@pytest.fixture
def kv(daemon):
    """Return a client of the test's own daemon, not of the one that the tests of HTTP share."""
    with daemon.client() as client:
        yield client


@pytest.fixture
def make_nats(tmp_path_factory):
    made = []

    def make(*options, **how) -> NatsServer:
        made.append(NatsServer(tmp_path_factory.mktemp("n"), *options, **how))
        return made[-1].start()

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def server(make_nats):
    return make_nats()


@pytest.fixture
def make_ear():
    made = []

    def make(*args) -> Ear:
        made.append(Ear(*args))
        return made[-1]

    yield make
    for ear in made:
        ear.close()


@pytest.fixture
def make_bridge(daemon, server, make_gateway):
    def make(*options, url=server.url):
        return make_gateway("nats", daemon.commands, "--server", url, *options, listen=None)

    return make


def numbers(heard) -> list[int]:
    """Return the revisions received at kvd.KEY, without duplicates."""
    found = dict.fromkeys(body["revision"] for subject, body, _ in heard if subject.startswith("kvd."))
    return [*found]


def journal(kv, since=0) -> list[int]:
    """Return the revisions of all changes after one that the bridge must publish."""
    found = []
    while changes := kv.changes(since, limit=10_000):
        since = changes[-1].revision
        found += [each.revision for each in changes if not each.key.startswith(b"kvd:nats:")]
    return found


def write(kv, count=CHANGES, at=0) -> None:
    with kv.pipeline() as pipeline:
        for n in range(at, at + count):
            if n % 5 == 4:
                pipeline.clear(f"k{n - 1}")
            else:
                pipeline.set(f"k{n}", f"v{n}")


def position(kv, name="default") -> int:
    value = kv.get(f"kvd:nats:{name}")
    return -1 if value is None else json.loads(value)["revision"]


class TestPublishes:
    def test_two_subscribers_hear_every_set_and_rm_in_order(self, kv, server, make_ear, make_bridge):
        ears = [make_ear(server.url, "*") for _ in range(2)]  # one subject, for each has a queue of its own
        make_bridge()
        kv.set("city", "Surat")
        kv.set("city", "Pune")
        kv.clear("city")
        kv.clear("city")
        kv.set("bytes", b"\xff\0")
        kv.set("short", "lived", ttl=0.01)
        expected = [
            ("set", {"key": "city", "val": "Surat"}),
            ("set", {"key": "city", "val": "Pune"}),
            ("rm", {"key": "city"}),
            ("set", {"key": "bytes", "val": {"base64": "/wA="}}),
            ("set", {"key": "short", "val": "lived"}),
            ("rm", {"key": "short"}),
        ]
        for ear in ears:
            eventually(lambda ear=ear: len(ear.heard) >= len(expected))
            assert ear.of("set", "rm") == expected

    def test_changes_come_by_the_subject_of_their_key(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, "kvd.>")
        make_bridge("--changes")
        revisions = [kv.set(key, "x") or kv.entry(key).revision for key in ("user.17", "a b", ".", b"\xff")]
        kv.clear("user.17")
        eventually(lambda: len(ear.heard) == 5)
        history = kv.info("server")["server"]["history"]
        first, *others = ear.heard
        assert first == (
            "kvd.user.17",
            {"revision": revisions[0], "kind": "SET", "key": "user.17", "value": "x"},
            f"{history}-{revisions[0]}",
        )
        assert [subject for subject, _, _ in others] == ["kvd.a%20b", "kvd.%2E", "kvd.%FF", "kvd.user.17"]
        assert others[2][1]["key"] == {"base64": "/w=="}
        assert others[3][1] == {"revision": revisions[3] + 1, "kind": "CLEAR", "key": "user.17"}

    def test_prefixes(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, "set")
        make_bridge("--prefix", "user:", "--prefix", "city")
        for key in ("other", "user:1", "citadel", "city"):
            kv.set(key, "x")
        eventually(lambda: len(ear.heard) == 2)
        assert [body["key"] for _, body, _ in ear.heard] == ["user:1", "city"]

    def test_a_value_beyond_max_payload_is_told_without_it(self, kv, make_nats, make_ear, make_bridge):
        small = make_nats(config="max_payload: 4096\nmax_pending: 65536\n")
        ear = make_ear(small.url, ">")
        bridge = make_bridge("--changes", url=small.url)
        kv.set("large", b"x" * 5_000)
        kv.set("small", "y")
        eventually(lambda: len(ear.heard) == 4)
        assert ear.heard[0][:2] == ("set", {"key": "large", "val": None, "too_large": True, "bytes": 5_000})
        assert ear.heard[1][1]["too_large"] is True
        assert ear.heard[2][:2] == ("set", {"key": "small", "val": "y"})
        assert "event=too_large key=large bytes=5000 subject=set " in bridge.log.read_text()

    def test_the_longest_key(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, ">")
        make_bridge("--changes")
        kv.set(b"\xff" * 4096, "x")
        kv.set(b"k" * 3068, "x")
        eventually(lambda: len(ear.heard) == 4)
        assert [subject[:10] for subject, _, _ in ear.heard] == ["set", "kvd.%long.", "set", "kvd.kkkkkk"]

    def test_credentials_in_the_url_and_a_server_that_forbids(self, kv, make_nats, make_ear, make_bridge):
        deaf = make_nats(
            config="authorization { users = [ { user: ear, password: pw },"
            " { user: ada, password: pw, permissions: { publish: [ 'rm', '$JS.API.>' ] } } ] }\n"
        )
        place = deaf.url.removeprefix("nats://")
        ear = make_ear(f"nats://ear:pw@{place}", ">")
        bridge = make_bridge(url=f"nats://ada:pw@{place}")
        kv.set("k", "v")
        kv.clear("k")
        assert bridge.process.wait(60) == 69
        said = bridge.log.read_text()
        assert "the NATS server refuses the bridge" in said
        assert "pw@" not in said
        assert ear.of("set") == []


class TestPosition:
    def test_its_own_writes_are_not_bridged_and_it_comes_to_rest(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, ">")
        make_bridge("--changes")
        make_bridge("--changes", "--name", "other")
        kv.set("k", "v")
        eventually(lambda: min(position(kv), position(kv, "other")) >= kv.entry("k").revision)
        before = kv.info("store")["store"]["revision"]
        kv.set("last", "v")
        eventually(lambda: min(position(kv), position(kv, "other")) > before)
        rest = kv.info("store")["store"]["revision"]
        eventually(lambda: len([each for each in ear.heard if each[0] == "kvd.last"]) == 2)
        assert {body["key"] for _, body, _ in ear.heard} == {"k", "last"}
        assert rest == before + 3  # the change, and a position of each

    def test_it_goes_on_from_there_and_repeats_nothing_after_an_end(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, "kvd.>")
        bridge = make_bridge("--changes")
        write(kv, 100)
        eventually(lambda: len(ear.heard) == 100)
        assert bridge.stop() == 0
        write(kv, 100, at=100)
        make_bridge("--changes")
        eventually(lambda: len(ear.heard) >= 200)
        assert [body["revision"] for _, body, _ in ear.heard] == journal(kv)

    def test_a_first_start_begins_now_and_since_says_otherwise(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, "set")
        kv.set("before", "v")
        bridge = make_bridge()
        kv.set("after", "v")
        eventually(lambda: len(ear.heard) == 1)
        bridge.stop()
        make_bridge("--since", "start")
        eventually(lambda: len(ear.heard) == 3)
        assert [body["key"] for _, body, _ in ear.heard] == ["after", "before", "after"]

    def test_a_bridge_with_nothing_to_do_is_not_compacted_away(self, kv, make_bridge):
        bridge = make_bridge("--prefix", "never:")
        write(kv, 1_500)
        eventually(lambda: position(kv) >= 1_000)
        bridge.kill()
        kv.compact(1_000)
        assert make_bridge("--prefix", "never:").stop() == 0

    def test_compacted_ends_with_what_to_do(self, daemon, kv, server, make_ear, make_bridge):
        bridge = make_bridge()
        bridge.kill()
        write(kv, 100)
        kv.compact(50)
        bridge.spawn()
        assert bridge.process.wait(60) == 69
        assert "--since now; or start it with --since start" in bridge.log.read_text()
        ear = make_ear(server.url, "set", "rm")
        make_bridge("--since", "start")
        eventually(lambda: len(ear.heard) == len(journal(kv, 50)))

    def test_another_history_ends_it(self, daemon, kv, server, make_daemon, make_bridge, make_gateway):
        make_bridge().stop()
        other = make_daemon().start()
        with other.client() as elsewhere:
            elsewhere.set("kvd:nats:default", kv.get("kvd:nats:default"))
        done = run_kvd("gateway", "nats", "--url", other.commands, "--server", server.url)
        assert done.returncode == 69
        assert "the daemon has another history than the bridge's position" in done.stderr

    def test_of_two_bridges_with_one_name_one_ends(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, "kvd.>")
        first = make_bridge("--changes")
        second = make_bridge("--changes")
        write(kv, 50)
        assert first.process.wait(60) == 69
        assert "another bridge uses the name default" in first.log.read_text()
        assert second.process.poll() is None
        write(kv, 50, at=50)
        eventually(lambda: numbers(ear.heard)[-1:] == journal(kv)[-1:])
        assert sorted(numbers(ear.heard)) == journal(kv)

    def test_what_holds_no_position_is_not_overwritten(self, daemon, kv, server):
        kv.set("kvd:nats:mine", "my own")
        done = run_kvd("gateway", "nats", "--url", daemon.commands, "--server", server.url, "--name", "mine")
        assert done.returncode == 69
        assert kv.get("kvd:nats:mine") == b"my own"

    def test_no_server_at_the_start_is_told_at_once_and_again_and_waited_for(
        self, daemon, kv, server, make_ear, make_gateway
    ):
        server.kill()
        bridge = make_gateway("nats", daemon.commands, "--server", server.url, listen=None)
        eventually(lambda: bridge.log.read_text().count("event=bridge_waits") >= 3)
        assert "ConnectionRefusedError" in bridge.log.read_text()
        server.start()
        ear = make_ear(server.url, "set")
        kv.set("k", "v")
        eventually(lambda: ear.of("set") == [("set", {"key": "k", "val": "v"})])

    def test_no_daemon_at_the_start_is_waited_for(self, make_daemon, kv, server, make_ear, make_gateway):
        ear = make_ear(server.url, "set")
        daemon = make_daemon().start()
        daemon.kill()
        bridge = make_gateway("nats", daemon.commands, "--server", server.url, listen=None)
        eventually(lambda: bridge.log.read_text().count("event=bridge_waits") >= 2)
        assert "Unreachable" in bridge.log.read_text()
        daemon.start()
        with daemon.client() as late:
            eventually(lambda: position(late) >= 0)
            late.set("k", "v")
            eventually(lambda: ear.of("set") == [("set", {"key": "k", "val": "v"})])
            assert bridge.stop() == 0
            assert position(late) == late.entry("k").revision

    def test_an_end_while_the_daemon_is_waited_for(self, server, make_gateway):
        bridge = make_gateway("nats", "ipc:///nowhere/c", "--server", server.url, listen=None)
        assert bridge.stop() == 0
        assert "Traceback" not in bridge.log.read_text()

    @pytest.mark.parametrize("digits", ["the next", str(2**63), "9" * 30, "9" * 5_000], ids=len)
    def test_a_since_that_is_not_there_yet_leaves_the_position(self, daemon, kv, server, make_bridge, digits):
        make_bridge().stop()
        before, head = kv.get("kvd:nats:default"), kv.info("server")["server"]["revision"]
        since = digits if digits.isdigit() else str(head + 1)
        done = run_kvd("gateway", "nats", "--url", daemon.commands, "--server", server.url, "--since", since)
        assert done.returncode == 78
        assert f"the daemon is at revision {head}" in done.stderr
        assert kv.get("kvd:nats:default") == before

    def test_a_since_that_is_compacted_away_leaves_the_position(self, daemon, kv, server, make_bridge):
        make_bridge().stop()
        write(kv, 100)
        kv.compact(50)
        before = kv.get("kvd:nats:default")
        done = run_kvd("gateway", "nats", "--url", daemon.commands, "--server", server.url, "--since", "10")
        assert done.returncode == 69
        assert "the changes after 10 are compacted up to 50" in done.stderr
        assert kv.get("kvd:nats:default") == before

    def test_a_since_of_a_daemon_that_comes_later(self, make_daemon, server, make_gateway):
        daemon = make_daemon().start()
        daemon.kill()
        bridge = make_gateway("nats", daemon.commands, "--server", server.url, "--since", "7", listen=None)
        daemon.start()
        assert bridge.process.wait(60) == 78
        assert "--since 7: the daemon is at revision 0" in bridge.log.read_text()

    def test_an_endpoint_that_is_none(self, server):
        done = run_kvd("gateway", "nats", "--url", "foo", "--server", server.url)
        assert done.returncode == 78
        assert done.stderr.startswith("kvd: 'foo' is not an endpoint")


class TestKills:
    def test_the_bridge_is_killed_again_and_again(self, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, "kvd.>")
        bridge = make_bridge("--changes")
        for part in range(4):
            write(kv, CHANGES // 4, at=part * CHANGES // 4)
            eventually(lambda part=part: len(numbers(ear.heard)) > part * CHANGES // 4 + 100)
            bridge.kill()
            bridge.start()
        eventually(lambda: len(numbers(ear.heard)) == CHANGES)
        assert numbers(ear.heard) == journal(kv)

    def test_the_server_is_killed(self, kv, server, make_bridge):
        """The subscriber is lost with the server, so the test reads the messages from a stream on its disk."""
        bridge = make_bridge("--changes")
        before = [Ear(server.url, "kvd.>")]
        write(kv, 500)
        eventually(lambda: len(numbers(before[0].heard)) == 500)
        server.kill()
        write(kv, 500, at=500)
        server.start()
        after = Ear(server.url, "kvd.>")
        before[0].close()
        write(kv, 500, at=1_000)
        eventually(lambda: journal(kv)[-1] in numbers(after.heard))
        after.close()
        assert bridge.process.poll() is None
        found = dict.fromkeys([*numbers(before[0].heard), *numbers(after.heard)])
        assert [each for each in journal(kv) if each not in found][500:] == []

    def test_the_daemon_is_killed(self, daemon, kv, server, make_ear, make_bridge):
        ear = make_ear(server.url, "kvd.>")
        bridge = make_bridge("--changes")
        write(kv, 500)
        daemon.kill()
        daemon.start()
        write(kv, 500, at=500)
        eventually(lambda: len(numbers(ear.heard)) == 1_000)
        assert numbers(ear.heard) == journal(kv)
        assert bridge.process.poll() is None


class TestJetStream:
    @pytest.fixture
    def server(self, make_nats):
        return make_nats("-js")

    @pytest.fixture
    def ear(self, server, make_ear):
        ear = make_ear(server.url)
        ear.run(ear.nc.jetstream().add_stream(name="KVD", subjects=["kvd.>", "set", "rm"]))
        return ear

    def test_exactly_once_whoever_is_killed(self, daemon, kv, server, ear, make_bridge):
        bridge = make_bridge("--changes")
        for part, victim in enumerate([bridge, server, daemon, bridge]):
            write(kv, 100, at=part * 100)
            victim.kill()
            victim.start()
        eventually(lambda: position(kv) >= journal(kv)[-1])
        found = in_stream(ear, "KVD")
        assert [body["revision"] for subject, body, _ in found if subject.startswith("kvd.")] == journal(kv)
        assert len({number for _, _, number in found}) == len(found) == 800

    def test_a_stream_that_refuses_ends_it_and_nothing_is_skipped(self, kv, server, ear, make_bridge):
        ear.run(ear.nc.jetstream().update_stream(name="KVD", subjects=["kvd.>", "set", "rm"], max_msg_size=200))
        bridge = make_bridge()
        kv.set("a", "1")
        kv.set("b", "x" * 1_000)
        kv.set("c", "1")
        assert bridge.process.wait(60) == 69
        assert "the stream refuses a message for set" in bridge.log.read_text()
        ear.run(ear.nc.jetstream().update_stream(name="KVD", subjects=["kvd.>", "set", "rm"], max_msg_size=-1))
        make_bridge()
        eventually(lambda: len(in_stream(ear, "KVD")) == 3)
        assert [body["key"] for _, body, _ in in_stream(ear, "KVD")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "told", [b"INFO [1,2]\r\n", b'INFO {"max_payload": "abc"}\r\n', b"INFO {" + b"a" * 200_000, b"\xff\r\n"]
)
def test_a_server_that_does_not_keep_to_the_protocol_is_waited_for(daemon, make_gateway, told):
    with socket.create_server(("127.0.0.1", 0)) as lying:

        def lie():
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = lying.accept()
                    with sock, contextlib.suppress(OSError):
                        sock.sendall(told)
                        while b"PING" in (said := sock.recv(65_536)) or said:
                            sock.sendall(b"PONG\r\n" * said.count(b"PING\r\n"))

        threading.Thread(target=lie, daemon=True).start()
        place = "nats://{}:{}".format(*lying.getsockname())
        bridge = make_gateway("nats", daemon.commands, "--server", place, listen=None)
        eventually(lambda: bridge.log.read_text().count("event=bridge_waits") >= 2)
        assert "Traceback" not in bridge.log.read_text()
        assert bridge.stop() == 0
