"""A daemon with keys, from outside: who gets in, who hears what, and what a SIGHUP changes (S1, S2, S3, S5, S8)."""

import stat
import subprocess
import sys

import msgspec
import pytest
import zmq
from support import forks
from support.doors import plain
from support.running import serve

from kvd.client import Client
from kvd.client.keys import Keys
from kvd.errors import Denied, NotLetIn, Unreachable

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
OWN = {"role": "write", "prefixes": ["user:", "team:"]}


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
    assert (code, "key and access go together" in said) == (78, True)


def test_what_is_wrong_with_the_files_is_said_before_anything_is_opened(tmp_path, doors):
    doors.access.write_text('[ada]\nrole = "reed"\n')
    code, said = serve("--data", tmp_path / "d", *doors.options)
    assert (code, len(said.splitlines())) == (78, 2)
    assert "access.toml:1: [ada] needs a role" in said
    assert not (tmp_path / "d").exists()
    doors.access.unlink()
    assert serve("--data", tmp_path / "d", *doors.options)[0] == 78
    doors.access.write_bytes(b"\xff")
    assert "is not UTF-8" in serve("--data", tmp_path / "d", *doors.options)[1]
    options = ["--key", doors.directory / "daemon.key", *doors.options[2:]]
    assert "has no secret key" in serve("--data", tmp_path / "d", *options)[1]
    options = ["--key", doors.access, *doors.options[2:]]
    assert "is not a CURVE certificate" in serve("--data", tmp_path / "d", *options)[1]


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
        assert process.wait(60) == 0
        process.stderr.close()


def test_sockets_and_secrets_are_for_their_owner_only(access_daemon, doors):
    for path in (
        access_daemon.directory / "c.sock",
        access_daemon.directory / "p.sock",
        doors.directory / "root.key_secret",
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Authentication


def test_whoever_has_no_key_or_another_gets_nothing_and_hears_why(access_daemon, doors):
    good, eve = doors.keys("root"), doors.keys("eve")
    wrong_secret = Keys(good.public, eve.secret, good.server)
    wrong_server = doors.keys("root", server="eve")
    for keys, why in [
        (None, "the daemon requires keys"),
        (wrong_server, "the daemon may have another key than we trust"),
        (wrong_secret, "another key than we trust|does not let in"),
        (eve, "does not let in our key"),
    ]:
        with Client(access_daemon.commands, timeout=0.5, keys=keys) as kv, pytest.raises(NotLetIn, match=why):
            kv.ping()
    with access_daemon.client() as kv:
        assert kv.ping() == b"PONG"
        assert kv.info("traffic")["traffic"]["calls"].keys() <= {"PING", "INFO"}
    lines = [line for line in access_daemon.log.read_text().splitlines() if "event=refused_client" in line]
    assert any(eve.public.decode() in line for line in lines)


def test_a_client_with_keys_hears_that_a_daemon_wants_none(daemon, doors):
    with (
        Client(daemon.commands, timeout=1, keys=doors.keys("root")) as kv,
        pytest.raises(NotLetIn, match="the daemon does not use keys: connect without them"),
    ):
        kv.ping()


@pytest.mark.parametrize("endpoint", ["commands", "changes"])
@pytest.mark.parametrize("mechanism", ["null", "plain", "unlisted"])
def test_no_mechanism_but_curve_with_a_listed_key_is_served(access_daemon, doors, context, endpoint, mechanism):
    options = {"PLAIN_USERNAME": b"root", "PLAIN_PASSWORD": b"root"} if mechanism == "plain" else {}
    keys = doors.keys("eve") if mechanism == "unlisted" else None
    kind = zmq.DEALER if endpoint == "commands" else zmq.SUB
    topics = [] if endpoint == "commands" else [b"", b"c"]
    sock = plain(context, kind, getattr(access_daemon, endpoint), keys, *topics, **options)
    if endpoint == "commands":
        sock.send_multipart([b"", encode(["SET", b"a", b"1"])])
    with access_daemon.client() as kv:
        kv.set("b", "2")
        assert not sock.poll(1200), "a heartbeat comes each second"
        assert kv.get("a") is None


def test_a_refused_client_gets_in_as_soon_as_the_file_names_it(access_daemon, doors, reread):
    with Client(access_daemon.commands, keys=doors.keys("ada")) as kv:
        with pytest.raises(NotLetIn):
            kv.ping()
        reread(ada={"role": "read"})
        assert kv.ping() == b"PONG"


def test_refusals_are_logged_but_not_each_of_a_flood(access_daemon, doors):
    keys = doors.keys("eve")
    for _ in range(30):
        with Client(access_daemon.commands, keys=keys) as kv, pytest.raises(Unreachable):
            kv.ping()
    assert access_daemon.log.read_text().count("event=refused_client") == 10


def test_the_same_routing_id_twice_crosses_nothing_and_is_nobody(access_daemon, doors, reread, context):
    """libzmq lets the second one with an id hang; its commands do not run as the first one's, or at all."""
    reread(ada={"role": "read"})
    first = plain(context, zmq.DEALER, access_daemon.commands, doors.keys("root"), IDENTITY=b"same")
    first.send_multipart([b"1", b"", encode(["SET", b"a", b"1"])])
    assert first.recv_multipart()[0] == b"1"
    second = plain(context, zmq.DEALER, access_daemon.commands, doors.keys("ada"), IDENTITY=b"same")
    second.send_multipart([b"2", b"", encode(["SET", b"a", b"2"])])
    first.send_multipart([b"3", b"", encode(["GET", b"a"])])
    assert first.recv_multipart()[0] == b"3"
    assert not first.poll(300)
    assert not second.poll(0)
    first.close()
    third = plain(context, zmq.DEALER, access_daemon.commands, doors.keys("ada"), IDENTITY=b"another")
    third.send_multipart([b"4", b"", encode(["SET", b"a", b"3"])])
    assert decode(third.recv_multipart()[-1])[:2] == ["ERROR", "DENIED"]
    with access_daemon.client() as kv:
        assert kv.get("a") == b"1"


# The log


def test_the_log_at_debug_tells_no_value_and_no_secret(access_daemon, doors, reread):
    reread(ada=OWN)
    ada = doors.keys("ada")
    with (
        Client(access_daemon.commands, keys=ada) as kv,
        access_daemon.client() as root,
        kv.watch("user:", since=0) as watch,
    ):
        kv.set("user:1", "a value nobody may see")
        kv.once().set("user:2", "a value nobody may see")
        with pytest.raises(Denied):
            kv.set("other:1", "a value nobody may see")
        root.set("x", "a value nobody may see", ttl=0.01)
        next(watch)
        while root.get("x"):
            pass
    with Client(access_daemon.commands, keys=doors.keys("eve")) as kv, pytest.raises(NotLetIn):
        kv.ping()
    access_daemon.stop()
    log = access_daemon.log.read_text()
    assert "event=access_read" in log
    assert "a value" not in log
    for keys in (ada, doors.keys("daemon"), doors.keys("root"), doors.keys("eve")):
        assert keys.secret.decode() not in log


# The shell


def kvsh(daemon, *arguments):
    """Run kvsh against a daemon; return exit code, output and messages."""
    command = [sys.executable, "-m", "kvsh", "--url", daemon.commands, *map(str, arguments)]
    done = forks.run(command, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_shell_works_with_keys_and_says_what_is_wrong_without(access_daemon, doors, reread):
    reread(ada=OWN)
    server = ["--server-key", doors.directory / "daemon.key"]
    keys = ["--key", doors.make("ada"), *server]
    assert kvsh(access_daemon, *keys, "set", "user:1", "x")[:2] == (0, "OK\n")
    code, _, said = kvsh(access_daemon, *keys, "get", "other:1")
    own = "only keys that begin with 'user:', 'team:' (see [ada] in access.toml)"
    assert (code, said) == (4, f"kvsh: DENIED: ada may not GET 'other:1': {own}\n")
    code, _, said = kvsh(access_daemon, *keys, "watch", "other:")
    assert (code, "DENIED: ada may not WATCH 'other:'" in said) == (4, True)
    code, _, said = kvsh(access_daemon, "--timeout", "1", "get", "user:1")
    assert (code, "the daemon requires keys: see --key and --server-key" in said) == (3, True), said
    code, _, said = kvsh(access_daemon, "--key", doors.make("eve"), *server, "get", "user:1")
    assert (code, "does not let in our key: see --key and --server-key" in said) == (3, True), said


def test_a_line_that_is_denied_takes_no_other_of_its_script_with_it(access_daemon, doors, reread, tmp_path):
    reread(ada=OWN)
    lines = [f"set user:{number} {number}" for number in range(5000)]
    lines[700] = "set other:1 x"
    (tmp_path / "s.kv").write_text("\n".join(lines))
    keys = ["--key", doors.make("ada"), "--server-key", doors.directory / "daemon.key"]
    code, out, said = kvsh(access_daemon, *keys, "-f", tmp_path / "s.kv")
    assert (code, out, said.count("DENIED")) == (4, "OK\n" * 4999, 1)
    assert said.startswith(f"kvsh: {tmp_path}/s.kv:701: DENIED: ada may not SET 'other:1'")
    assert said.endswith("kvsh: 1 of 5000 commands failed (first at line 701)\n")
    with access_daemon.client() as root:
        assert root.count() == 4999
