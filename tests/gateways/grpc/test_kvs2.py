"""gRPC as the older store had it, by a client made of the .proto that its clients have; health, reflection, the end."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from support.rpcs import (
    NOT_SERVING,
    SERVICE_UNKNOWN,
    SERVING,
    Rpcs,
    check_health,
    compile_proto,
    messages_of,
    plain,
    read_trailers,
)
from support.running import eventually, run_kvd

from kvd.gateways.grpc import kvd_v1_pb2 as pb
from kvd.limits import KEYS_MAX, VALUE_BYTES_MAX

GIVEN = """
syntax = "proto3";
package kvs2;
service Kvs2 { rpc MultiGet(MultiGetRequest) returns (MultiGetReply); rpc Get(GetRequest) returns (GetReply); rpc Set(SetRequest) returns (SetReply); }
message SetRequest { bytes key = 1; bytes value = 2; }
enum SetStatus { PUBLISHED = 0; }
message SetReply { SetStatus status = 1; }
message GetRequest { bytes key = 1; }
enum ReadStatus { OK = 0; NOT_FOUND = 1; }
message GetReply { ReadStatus status = 1; bytes data = 2; }
message MultiGetRequest { repeated bytes keys = 1; }
message MultiGetResponsePart { bytes key = 1; ReadStatus status = 2; bytes data = 3; }
message MultiGetReply { repeated MultiGetResponsePart parts = 1; }
"""  # noqa: E501  # as it is messages
SERVICES = ("", "kvs2.Kvs2", "kvd.v1.Kvd")
OK, NOT_FOUND, PUBLISHED = 0, 1, 0
UNLIMITED = {"max_receive_message_length": -1, "max_send_message_length": -1}


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return messages_of(compile_proto(tmp_path_factory.mktemp("p"), "messages.proto", GIVEN))


@pytest.fixture
def gateway(daemon, make_gateway):
    return make_gateway("grpc", daemon.commands)


@pytest.fixture
def rpcs(gateway):
    return Rpcs(gateway.address, **UNLIMITED)


@pytest.fixture
def run(rpcs, messages):
    def call(rpc: str, **fields):
        return rpcs.call(f"/kvs2.Kvs2/{rpc}", messages[f"{rpc}Request"](**fields), messages[f"{rpc}Reply"])

    return call


def rpc_error(call, *arguments, **fields):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **fields)
    return caught.value


# kvs2


def test_set_and_get_over_any_bytes(run, kv, messages):
    key, value = b"\x00\xff city", bytes(range(256))
    assert run("Set", key=key, value=value) == messages["SetReply"](status=PUBLISHED)
    assert kv.get(key) == value
    assert run("Get", key=key) == messages["GetReply"](status=OK, data=value)
    assert run("Set", key=key, value=b"").status == PUBLISHED
    assert run("Get", key=key) == messages["GetReply"](status=OK, data=b"")


def test_a_missing_key_is_a_status_within_the_reply(run, messages):
    assert run("Get", key=b"nothing") == messages["GetReply"](status=NOT_FOUND, data=b"")


def test_multiget_tells_its_parts_in_the_order_asked(run, kv, messages):
    kv.set("a", "1")
    kv.set("c", "")
    part = messages["MultiGetResponsePart"]
    assert run("MultiGet", keys=[b"c", b"b", b"a", b"c"]) == messages["MultiGetReply"](
        parts=[
            part(key=b"c", status=OK, data=b""),
            part(key=b"b", status=NOT_FOUND),
            part(key=b"a", status=OK, data=b"1"),
            part(key=b"c", status=OK, data=b""),
        ]
    )
    assert run("MultiGet") == messages["MultiGetReply"]()


def test_what_is_wrong_with_a_request_is_not_called_storage_trouble(run, rpcs, messages):
    assert rpc_error(run, "Get", key=b"").code() is grpc.StatusCode.INVALID_ARGUMENT
    too_large = rpc_error(run, "Set", key=b"k", value=bytes(VALUE_BYTES_MAX + 1))
    assert (too_large.code(), read_trailers(too_large)["kvd-code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE")
    many = rpc_error(run, "MultiGet", keys=[b"k"] * (KEYS_MAX + 1))
    assert (many.code(), read_trailers(many)["kvd-code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE")
    no_message = rpc_error(rpcs.call, "/kvs2.Kvs2/Get", health_pb2.HealthCheckRequest(service=""), messages["GetReply"])
    assert no_message.code() is grpc.StatusCode.INVALID_ARGUMENT  # no key
    raw = rpcs.channel.unary_unary("/kvs2.Kvs2/Get")
    assert rpc_error(raw, b"\xff\xff", timeout=60).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert rpc_error(raw, bytes(40 * 2**20), timeout=60).code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # gRPC's own
    assert run("Get", key=b"k").status == NOT_FOUND


def test_the_largest_value_goes_through(run):
    value = bytes(VALUE_BYTES_MAX)
    run("Set", key=b"k", value=value)
    assert run("Get", key=b"k").data == value


def test_a_daemon_that_is_away_is_unavailable_and_comes_back_by_itself(daemon, run, rpcs):
    run("Set", key=b"k", value=b"v")
    daemon.kill()
    for rpc, fields in (("Get", {"key": b"k"}), ("Set", {"key": b"k", "value": b"w"}), ("MultiGet", {"keys": [b"k"]})):
        error = rpc_error(run, rpc, **fields)
        assert (error.code(), read_trailers(error)["kvd-outcome"]) == (grpc.StatusCode.UNAVAILABLE, "not executed")
    assert rpc_error(rpcs.kvd, "Ping").code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as caught:
        next(rpcs.watch())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    eventually(lambda: [check_health(rpcs, service) for service in SERVICES] == [NOT_SERVING] * 3)
    daemon.start()
    eventually(lambda: [check_health(rpcs, service) for service in SERVICES] == [SERVING] * 3)
    assert run("Get", key=b"k").data == b"v"


def test_a_daemon_that_does_not_answer_is_told_after_five_seconds(daemon, run, rpcs):
    run("Set", key=b"k", value=b"v")
    daemon.signal(signal.SIGSTOP)
    reads = (("Get", {"key": b"k"}), ("MultiGet", {"keys": [b"k"]}))
    with ThreadPoolExecutor() as pool:
        late = [pool.submit(rpc_error, run, rpc, **fields) for rpc, fields in reads]
        write = pool.submit(rpc_error, run, "Set", key=b"k", value=b"w")
        own = pool.submit(rpc_error, rpcs.kvd, "Set", key=b"k", value=b"w")
        assert [each.result().code() for each in late] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
        # What was sent by a connection that is found dead before, by ZeroMQ's own signs of life, waits no longer.
        assert write.result().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert (own.result().code(), read_trailers(own.result())["kvd-outcome"]) == (grpc.StatusCode.UNKNOWN, "unknown")
    assert check_health(rpcs) == NOT_SERVING


# Health, reflection


def test_health_by_its_streams(daemon, rpcs):
    streams = [
        rpcs.stream(
            "/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest(service=name), health_pb2.HealthCheckResponse
        )
        for name in SERVICES
    ]
    assert [next(stream).status for stream in streams] == [SERVING] * 3
    daemon.kill()
    assert [next(stream).status for stream in streams] == [NOT_SERVING] * 3
    daemon.start()
    assert [next(stream).status for stream in streams] == [SERVING] * 3


def test_health_of_what_is_not_there(rpcs):
    assert rpc_error(check_health, rpcs, "other").code() is grpc.StatusCode.NOT_FOUND
    request = health_pb2.HealthCheckRequest(service="other")
    stream = rpcs.stream("/grpc.health.v1.Health/Watch", request, health_pb2.HealthCheckResponse)
    assert next(stream).status == SERVICE_UNKNOWN
    stream.cancel()
    for path in ("/grpc.health.v1.Health/Check", "/kvd.v1.Kvd/Get"):
        raw = rpcs.channel.unary_unary(path)
        assert rpc_error(raw, b"\xff", timeout=60).code() is grpc.StatusCode.INVALID_ARGUMENT
    for path in ("/grpc.health.v1.Health/Watch", "/kvd.v1.Kvd/Watch"):
        error = rpc_error(next, rpcs.channel.unary_stream(path)(b"\xff", timeout=60))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("kvd.v1.Kvd", "kvd_v1.proto"),
        ("kvd.v1.Kvd.Get", "kvd_v1.proto"),
        ("kvd.v1.Kvd.Watch", "kvd_v1.proto"),
        ("kvd.v1.SetRequest", "kvd_v1.proto"),
        ("kvd.v1.SetRequest.key", "kvd_v1.proto"),
        ("kvs2.Kvs2.MultiGet", "kvs2.proto"),
        ("kvs2.ReadStatus", "kvs2.proto"),
        ("grpc.health.v1.Health.Check", "grpc_health/v1/health.proto"),
    ],
)
def test_reflection_describes_a_service_one_method_and_a_message(rpcs, symbol, file):
    """As `grpcurl describe` asks."""
    database = ProtoReflectionDescriptorDatabase(rpcs.channel)
    assert database.FindFileContainingSymbol(symbol).name.endswith(file.rpartition("/")[2])


@pytest.mark.parametrize("symbol", ["kvd.v1.Kvd.None", "kvd.v1.None", "kvd.v1.SetRequest.none", "None", ""])
def test_reflection_knows_no_other_names(rpcs, symbol):
    with pytest.raises(KeyError):
        ProtoReflectionDescriptorDatabase(rpcs.channel).FindFileContainingSymbol(symbol)


def test_reflection_shows_all_that_is_served(rpcs):
    database = ProtoReflectionDescriptorDatabase(rpcs.channel)
    assert set(database.get_services()) == {
        "kvs2.Kvs2",
        "kvd.v1.Kvd",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    kvs2 = database.FindFileContainingSymbol("kvs2.Kvs2")
    assert [method.name for method in kvs2.service[0].method] == ["MultiGet", "Get", "Set"]
    assert "Watch" in [method.name for method in database.FindFileContainingSymbol("kvd.v1.Kvd").service[0].method]


def test_an_rpc_that_is_not_there(rpcs):
    raw = rpcs.channel.unary_unary("/kvs2.Kvs2/Delete")
    assert rpc_error(raw, b"", timeout=60).code() is grpc.StatusCode.UNIMPLEMENTED


# The end, the places


def test_what_is_under_way_at_sigterm_is_finished(gateway, rpcs, kv):
    unary = rpcs.unary("/kvd.v1.Kvd/Changes", pb.Reply)
    call = unary.future(pb.ChangesRequest(since=0, wait_ms=60_000), timeout=60)
    watch = rpcs.watch()
    assert dict(watch.initial_metadata())["kvd-history"]
    eventually(lambda: kv.info("traffic")["traffic"]["waiting"] == 1)
    gateway.process.send_signal(signal.SIGTERM)
    ended = rpc_error(next, watch)  # at once: it would not end by itself
    assert (ended.code(), read_trailers(ended)["kvd-code"]) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    kv.set("k", "v")
    [[kind, revision, key, value, *_]] = plain(call.result().result)
    assert (kind, revision, key, value) == ("SET", 1, b"k", b"v")
    assert gateway.process.wait(60) == 0
    assert "event=gateway_stopped" in gateway.log.read_text()


def test_a_port_in_use_is_said(gateway, daemon):
    done = run_kvd("gateway", "grpc", "--url", daemon.commands, "--listen", gateway.address)
    assert (done.returncode, done.stderr) == (
        69,
        f"kvd: cannot listen on {gateway.address}: Address already in use\n",
    )


def test_a_unix_socket_is_its_owners_and_nobody_takes_it_over(daemon, make_gateway, tmp_path):
    path = tmp_path / "g.sock"
    gateway = make_gateway("grpc", daemon.commands, listen=f"unix:{path}")
    assert Path(path).stat().st_mode & 0o777 == 0o600
    Rpcs(f"unix:{path}").kvd("Ping")
    done = run_kvd("gateway", "grpc", "--url", daemon.commands, "--listen", f"unix:{path}")
    assert (done.returncode, done.stderr) == (69, f"kvd: unix:{path} is in use by another program\n")
    Rpcs(f"unix:{path}").kvd("Ping")
    gateway.kill()
    gateway.start()  # in the place of the dead one's
    Rpcs(f"unix:{path}").kvd("Ping")
    assert gateway.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--listen", "0.0.0.0:0"],
            "0.0.0.0:0: anyone who reaches this address could read and write all keys. Give --token-file",
        ),
        (["--listen", "here"], "here: --listen takes ADDRESS:PORT"),
        (["--url", "nowhere"], "'nowhere' is not an endpoint"),
        (["--tls-cert", "/nowhere"], "--tls-cert and --tls-key go together"),
        (
            ["--tls-cert", "/nowhere", "--tls-key", "/nowhere"],
            "--tls-cert /nowhere and --tls-key /nowhere cannot be used",
        ),
        (["--token-file", "/nowhere"], "cannot read /nowhere: No such file or directory"),
    ],
)
def test_options_that_cannot_be_used(options, text):
    done = run_kvd("gateway", "grpc", *options)
    assert done.returncode == 78
    assert done.stderr.startswith(f"kvd: {text}")
