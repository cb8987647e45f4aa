"""Watch over gRPC: complete, in order, resumable whatever restarts; what ends it; tokens and what they let through."""

import resource
import signal
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import grpc
import pytest
from support.doors import AccessFiles
from support.programs import require
from support.rpcs import SERVING, Rpcs, check_health, plain, read_trailers
from support.running import eventually

from kvd.gateways.common.tokens import digest
from kvd.gateways.common.upstream import OTHER_DESCRIPTORS, WATCH_DESCRIPTORS
from kvd.gateways.grpc import kvd_v1_pb2 as pb
from kvd.limits import CHANGES_LIMIT_MAX, GRPC_HEALTH_WATCHES_MAX, GRPC_PREFIXES_MAX, KEY_BYTES_MAX, MIB


@pytest.fixture
def gateway(daemon, make_gateway):
    return make_gateway("grpc", daemon.commands)


def rpc_error(call, *arguments, **fields):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **fields)
    return caught.value


def next_changes(stream, count):
    """Return the next changes, as the daemon's own client has them."""
    return [as_row(next(stream)) for _ in range(count)]


def as_row(change):
    """Return a change as a row of CHANGES."""
    value = change.value if change.HasField("value") else None
    expires = change.expires if change.HasField("expires") else None
    kind = pb.Change.Kind.Name(change.kind)
    return (kind, change.revision, change.key, value, change.previous, expires, change.time)


def journal(kv, since=0, prefix=""):
    """Return what the journal has, as rows."""
    return [
        (each.kind, each.revision, each.key, each.value, each.previous, each.expires, each.time)
        for each in kv.changes(since, prefix, limit=CHANGES_LIMIT_MAX)
    ]


def head_of(stream):
    """Return the initial metadata. Raises RpcError when the stream ends without any."""
    head = dict(stream.initial_metadata() or ())
    if "kvd-history" not in head:
        next(stream)
    return head


# Watch


def test_what_comes_after_the_initial_metadata_is_not_missed(gateway, kv):
    kv.set("before", "x")
    watch = Rpcs(gateway.address).watch(b"user:")
    head = head_of(watch)
    assert head["kvd-revision"] == "1"
    assert head["kvd-history"] == kv.info("server")["server"]["history"]
    kv.set("user:1", "Ada", ttl=1000)
    kv.set("other", "x")
    kv.set("user:2", "")
    kv.clear("user:1")
    assert next_changes(watch, 3) == journal(kv, 1, "user:")


def test_each_change_once_and_in_order_while_daemon_and_gateway_restart(daemon, gateway, make_gateway):
    rows, since, history, stop = [], 0, "", threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                with daemon.client(timeout=1) as kv:
                    for each in range(20):
                        kv.set(f"k{number % 7}", f"{number}:{each}")
            except Exception:  # noqa: BLE001  # it is away
                continue

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for fault in (daemon.kill, gateway.kill, daemon.kill, gateway.stop, None):
            while True:  # as a client does: again from the last seen
                try:
                    watch = Rpcs(gateway.address).watch(since=since, history=history)
                    history = head_of(watch)["kvd-history"]
                    goal = len(rows) + 300
                    while len(rows) < goal:
                        rows += next_changes(watch, 1)
                        since = rows[-1][1]
                    break
                except grpc.RpcError as error:
                    assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
            if fault is not None:
                fault()
                (daemon if fault == daemon.kill else gateway).start()
    finally:
        stop.set()
        writer.join()
    with daemon.client() as kv:
        assert rows == journal(kv)[: len(rows)]


def test_a_watch_lives_through_a_restart_of_the_daemon(daemon, gateway):
    watch = Rpcs(gateway.address).watch()
    assert head_of(watch)
    with daemon.client() as kv:
        kv.set("a", "1")
    assert next_changes(watch, 1)[0][1:3] == (1, b"a")
    daemon.kill()
    daemon.start()
    with daemon.client() as kv:
        kv.set("b", "2")
    assert next_changes(watch, 1)[0][1:3] == (2, b"b")


def test_a_reader_that_stops_holds_up_itself_alone_and_gets_all(gateway, kv):
    rpcs = Rpcs(gateway.address)
    slow = rpcs.watch(since=0)
    assert head_of(slow)
    value = bytes(4000)
    before = memory_of(gateway)
    for _ in range(100):
        kv.multiset({f"k{n}": value for n in range(100)})
    assert rpcs.kvd("Count").result.integer == 100
    assert memory_of(gateway) - before < 30 * 2**20  # of 40 MB
    assert [change.revision for change in islice(slow, 10_000)] == list(range(1, 10_001))


def memory_of(gateway) -> int:
    """Return the bytes that the process holds."""
    return int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_cannot_be_followed_is_said(gateway, kv):
    rpcs = Rpcs(gateway.address)
    for number in range(5):
        kv.set("k", str(number))
    kv.compact(3)

    def fault(**how):
        error = rpc_error(next, rpcs.watch(**how))
        return error.code().name, read_trailers(error)["kvd-code"]

    assert fault(since=2) == ("OUT_OF_RANGE", "COMPACTED")
    assert fault(since=99) == ("FAILED_PRECONDITION", "HISTORY_CHANGED")
    assert fault(since=4, history="another") == ("FAILED_PRECONDITION", "HISTORY_CHANGED")
    many = rpc_error(next, rpcs.watch(*[b"p"] * (GRPC_PREFIXES_MAX + 1)))
    long = rpc_error(next, rpcs.watch(bytes(KEY_BYTES_MAX + 1)))
    assert [read_trailers(each)["kvd-code"] for each in (many, long)] == ["TOO_LARGE"] * 2


def test_a_watch_too_many_is_refused_and_one_that_ended_makes_room(daemon, make_gateway):
    limit = OTHER_DESCRIPTORS + 3 * WATCH_DESCRIPTORS
    gateway = make_gateway("grpc", daemon.commands, before=("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"))
    rpcs = Rpcs(gateway.address)
    watches = [rpcs.watch() for _ in range(3)]
    assert all(head_of(watch)["kvd-history"] for watch in watches)
    error = rpc_error(next, rpcs.watch())
    assert (error.code().name, read_trailers(error)["kvd-code"]) == ("RESOURCE_EXHAUSTED", "BUSY")
    assert len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir())) < limit
    watches[0].cancel()
    eventually(lambda: head_or_none(rpcs.watch()))


def head_or_none(stream):
    return dict(stream.initial_metadata() or ()).get("kvd-history")


# Tokens


class SecureGateway:
    """A daemon with keys, a gateway with tokens."""

    def __init__(self, make_daemon, make_gateway, folder) -> None:
        self.doors = AccessFiles(folder)
        self.doors.write(
            root={"role": "admin"},
            gate={"role": "read"},
            ada={"role": "write", "prefixes": ["ada:"]},
            eve={"role": "read"},
        )
        for name in ("gate", "ada", "eve"):
            self.doors.make(name)
        self.daemon = make_daemon(*self.doors.options)
        self.daemon.keys = self.doors.keys("root")
        self.daemon.start()
        self.tokens = folder / "tokens.toml"
        self.write("ada", "eve", "gate")
        keys = ["--key", str(folder / "gate.key_secret"), "--server-key", str(folder / "daemon.key")]
        self.gateway = make_gateway("grpc", self.daemon.commands, *keys, "--token-file", str(self.tokens))

    def write(self, *names: str) -> None:
        """Write the token file: the token of a name is `NAME's token`."""
        lines = [f'[{name}]\ntoken = "{digest(name)}"\n' for name in names]
        lines = [f'{line}key = "{line[1:4]}.key_secret"\n' if "gate" not in line else line for line in lines]
        self.tokens.write_text("".join(lines))

    def reread(self, event: str) -> None:
        """Have the gateway read it again; return when it has."""
        seen = self.gateway.log.read_text().count(event)
        self.gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.gateway.log.read_text().count(event) > seen)

    def rpcs(self, token: str | None) -> Rpcs:
        return Rpcs(self.gateway.address, token)


@pytest.fixture
def secure(make_daemon, make_gateway, tmp_path):
    return SecureGateway(make_daemon, make_gateway, tmp_path)


def test_who_one_is_is_the_tokens_and_what_one_may_the_daemons(secure):
    for token, words in ((None, "a token is needed"), ("nobody", "not valid"), ("", "not valid")):
        rpcs = secure.rpcs(token)
        for error in (rpc_error(rpcs.kvd, "Ping"), rpc_error(next, rpcs.watch())):
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert words in error.details()
            assert read_trailers(error) == {"kvd-code": "NOT_KNOWN", "kvd-outcome": "not executed"}
        assert (
            rpc_error(rpcs.call, "/kvs2.Kvs2/Get", pb.GetRequest(key=b"k"), pb.Reply).code().name == "UNAUTHENTICATED"
        )
    ada, eve = secure.rpcs("ada"), secure.rpcs("eve")
    ada.kvd("Set", key=b"ada:1", value=b"x")
    assert plain(eve.kvd("Get", key=b"ada:1").result) == b"x"
    for rpcs, key in ((ada, b"other"), (eve, b"ada:1")):
        error = rpc_error(rpcs.kvd, "Set", key=key, value=b"y")
        assert (error.code().name, read_trailers(error)["kvd-code"]) == ("PERMISSION_DENIED", "DENIED")
    assert rpc_error(next, ada.watch()).code() is grpc.StatusCode.PERMISSION_DENIED
    watch = ada.watch(b"ada:", since=0)
    assert next_changes(watch, 1)[0][2] == b"ada:1"


def test_health_and_reflection_need_no_token(secure):
    assert check_health(secure.rpcs(None)) == SERVING


def test_a_token_that_is_taken_back_ends_what_it_began(secure):
    ada = secure.rpcs("ada")
    watch, other = ada.watch(b"ada:"), secure.rpcs("eve").watch()
    assert head_of(watch)
    assert head_of(other)
    call = ada.unary("/kvd.v1.Kvd/Changes", pb.Reply).future(
        pb.ChangesRequest(since=0, prefix=b"ada:", wait_ms=60_000), metadata=ada.metadata
    )
    with secure.daemon.client() as kv:
        eventually(lambda: kv.info("traffic")["traffic"]["waiting"])
        secure.write("eve")
        secure.reread("event=tokens_read")
        for error in (rpc_error(next, watch), rpc_error(call.result), rpc_error(ada.kvd, "Ping")):
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        kv.set("ada:1", "x")
    assert next_changes(other, 1)[0][2] == b"ada:1"
    secure.tokens.write_text("[eve]\ntoken = 3\n")
    secure.reread("event=bad_tokens")
    assert plain(secure.rpcs("eve").kvd("Ping").result) == b"PONG"


def test_a_daemon_that_does_not_let_us_in_is_unavailable(secure, make_gateway):
    gateway = make_gateway("grpc", secure.daemon.commands)
    error = rpc_error(Rpcs(gateway.address).kvd, "Ping")
    assert (error.code().name, read_trailers(error)["kvd-code"]) == ("UNAVAILABLE", "NOT_LET_IN")


def test_tls(daemon, make_gateway, tmp_path):
    require("openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", cert, "-keyout", key]
    subprocess.run([*command, *names], check=True, capture_output=True)
    gateway = make_gateway("grpc", daemon.commands, "--tls-cert", str(cert), "--tls-key", str(key))
    rpcs = Rpcs(gateway.address, credentials=grpc.ssl_channel_credentials(cert.read_bytes()))
    assert plain(rpcs.kvd("Ping").result) == b"PONG"
    assert rpc_error(Rpcs(gateway.address).kvd, "Ping").code() is grpc.StatusCode.UNAVAILABLE


def test_a_watch_of_what_rests_is_told_from_where_to_resume(daemon, make_gateway):
    quick = "from kvd.gateways.grpc import kvd_v1; kvd_v1.WATCH_HEARTBEAT_MS = 100; from kvd.cli import main; main()"
    rpcs = Rpcs(make_gateway("grpc", daemon.commands, program=(sys.executable, "-c", quick)).address)
    stream = rpcs.watch(b"quiet")
    with daemon.client() as kv:
        for number in range(3):
            kv.set("loud", str(number))
        while (sign := next(stream)).revision != 3:
            assert sign.kind == pb.Change.STILL
        kv.compact(3)
        kv.set("quiet", "x")
        while (change := next(rpcs.watch(b"quiet", since=3))).kind == pb.Change.STILL:
            pass
        assert (change.revision, change.key) == (4, b"quiet")


def test_a_since_that_is_no_revision_is_no_other_history(gateway):
    error = rpc_error(next, Rpcs(gateway.address).watch(since=2**64 - 1))
    assert (error.code().name, read_trailers(error)["kvd-code"]) == ("INVALID_ARGUMENT", "BAD_ARGUMENT")


def test_what_is_refused_is_not_held(gateway):
    large = b"\x0a\x00" * (8 << 20)
    with grpc.insecure_channel(gateway.address) as channel:
        ask = channel.unary_unary("/kvd.v1.Kvd/MultiGet")
        sizes = []
        for _ in range(4):
            assert rpc_error(ask, large).code().name == "RESOURCE_EXHAUSTED"
            sizes.append(memory_of(gateway))
    assert sizes[-1] < sizes[0] + 200 * MIB, sizes


def test_who_watches_the_health_shuts_nobody_out(gateway, kv):
    with grpc.insecure_channel(gateway.address) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watches = [watch(b"") for _ in range(GRPC_HEALTH_WATCHES_MAX)]
        for each in watches:
            next(each)
        assert rpc_error(next, watch(b"")).code().name == "RESOURCE_EXHAUSTED"
        kv.set("a", "1")
        assert Rpcs(gateway.address).kvd("Get", key=b"a").result.bytes == b"1"
