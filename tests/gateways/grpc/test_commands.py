"""kvd.v1 over sockets: each command, and each error."""

import json
from unittest.mock import ANY

import grpc
import pytest
from support.example_calls import example_of, fields_of
from support.rpcs import Rpcs, plain, read_trailers

from kvd.commands import COMMANDS, syntax_of
from kvd.gateways.grpc import kvd_v1_pb2 as pb
from kvd.gateways.grpc.schema import request_of, rpc_of
from kvd.limits import KEY_BYTES_MAX

SET = pb.SetRequest
INSIDE = pb.Command(incr=pb.IncrRequest(key=b"n", by=-2))


def one(result):
    return result


def shape(result):
    """Return a large result as the types in it."""
    return type(result).__name__


# Requests of each command, with their results. They run in this order on one daemon. A command without a row is called
# by its example.
CASES = {
    "SET": [({"key": b"a", "value": b"1"}, one, None), ({"key": b"a", "value": b"2", "previous": True}, one, b"1")],
    "GET": [({"key": b"a"}, one, b"2"), ({"key": b"none"}, one, None)],
    "MULTISET": [({"pairs": [pb.Pair(key=b"b", value=b"3"), pb.Pair(key=b"c", value=b"")]}, one, None)],
    "MULTIGET": [({"keys": [b"c", b"x", b"b"]}, one, [b"", None, b"3"])],
    "EXISTS": [({"keys": [b"a", b"b", b"x"]}, one, 2)],
    "INCR": [({"key": b"n"}, one, 1), ({"key": b"n", "by": -5}, one, -4)],
    "APPEND": [({"key": b"a", "value": b"34"}, one, 3)],
    "ENTRY": [
        ({"key": b"b"}, one, {"revision": 3, "created": 3, "expires": None, "size": 1}),
        ({"key": b"b", "value": True}, one, {"revision": 3, "created": 3, "expires": None, "size": 1, "value": b"3"}),
    ],
    "GETRANGE": [({"key": b"a", "start": -2, "end": -1}, one, b"34"), ({"key": b"x", "start": 0, "end": 0}, one, None)],
    "STRLEN": [({"key": b"a"}, one, 3), ({"key": b"x"}, one, None)],
    "SCAN": [
        ({}, one, [[b"a", b"b", b"c", b"n"], None]),
        ({"after": b"a", "limit": 1, "values": True}, one, [[[b"b", b"3", 3, None]], b"b"]),
        ({"start": b"b", "stop": b"n", "reverse": True}, one, [[b"c", b"b"], None]),
        ({"prefix": b"a", "sizes": True}, one, [[[b"a", 3, 7, None]], None]),
    ],
    "COUNT": [({}, one, 4), ({"prefix": b"a"}, one, 1)],
    "EXPIRE": [({"key": b"a", "ttl": 10**9}, one, 1)],
    "GETEX": [({"key": b"b", "ttl": 10**9}, one, b"3"), ({"key": b"b", "persist": True}, one, b"3")],
    "TTL": [({"key": b"a"}, shape, "int"), ({"key": b"b"}, one, -1), ({"key": b"x"}, one, None)],
    "PERSIST": [({"key": b"a"}, one, 1), ({"key": b"a"}, one, 0)],
    "TRANSACTION": [
        (
            {
                "conditions": [pb.Condition(key=b"x", revision=0)],
                "commands": [
                    pb.Command(set=SET(key=b"x", value=b"y")),
                    pb.Command(multiget=pb.MultiGetRequest(keys=[b"x"])),
                    pb.Command(entry=pb.EntryRequest(key=b"none")),
                ],
            },
            one,
            [None, [b"y"], None],
        )
    ],
    "ONCE": [
        ({"token": b"12345678", "write": INSIDE}, one, -6),
        ({"token": b"12345678", "write": INSIDE}, one, -6),
    ],
    "TAKE": [({"key": b"x"}, one, b"y"), ({"key": b"x"}, one, None)],
    "TAKEFIRST": [
        ({"prefix": b"c", "wait_ms": 60_000}, one, [b"c", b""]),
        ({"prefix": b"none", "wait_ms": 1}, one, None),
    ],
    "CLEAR": [({"keys": [b"a", b"x"]}, one, 1)],
    "CLEARPREFIX": [({"prefix": b"n", "limit": 5}, one, 1)],
    "CHANGES": [({"since": 3, "limit": 1}, lambda result: result[0][:5], ["SET", 4, b"c", b"", 0])],
    "HISTORY": [
        (
            {"key": b"b", "limit": 1, "before": 4},
            lambda result: [*result[0][0][:5], result[1]],
            ["SET", 3, b"b", b"3", 0, None],
        )
    ],
    "COMPACT": [({"revision": 2}, one, 2)],
    "PING": [({}, one, b"PONG"), ({"message": b"\xff"}, one, b"\xff")],
    "INFO": [({"section": "server"}, lambda result: result["server"]["read_only"], None)],
    "COMMANDS": [({"name": "get"}, lambda result: result[0]["syntax"], "GET key")],
    "CONFIG": [({"option": "fsync"}, lambda result: result["fsync"]["value"], "always")],
    "CHECK": [({}, sorted, ["changes", "entries"])],
    "BACKUP": [({"name": "monday.kvd"}, lambda result: result["entries"], 1)],
    "SLOWLOG": [({"count": 1, "reset": True}, shape, "list")],
    "CLIENTS": [({}, lambda result: result[0]["transport"], "ipc")],
}
for name in COMMANDS.keys() - CASES.keys():
    CASES[name] = [(fields_of(example_of(name)), one, ANY)]


def rpc_error(call, *arguments, **fields):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **fields)
    return caught.value


@pytest.fixture
def rpcs(daemon, make_gateway):
    return Rpcs(make_gateway("grpc", daemon.commands).address)


def test_each_command_gives_over_grpc_what_it_gives(make_daemon, make_gateway, tmp_path):
    daemon = make_daemon("--backups", str(tmp_path)).start()
    rpcs = Rpcs(make_gateway("grpc", daemon.commands).address)
    for name, cases in CASES.items():
        for fields, view, expected in cases:
            reply = rpcs.kvd(rpc_of(COMMANDS[name]), **fields)
            assert (name, view(plain(reply.result))) == (name, expected)
            assert reply.revision > 0


def test_an_argument_that_is_needed_is_asked_for(rpcs):
    asked = set()
    for command in COMMANDS.values():
        if syntax_of(command).parameters and syntax_of(command).parameters[0].required:
            error = rpc_error(rpcs.kvd, rpc_of(command), getattr(pb, request_of(command))())
            assert (error.code(), read_trailers(error)["kvd-code"]) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "BAD_ARGUMENT",
            )
            assert command.command_name() in error.details()
            assert read_trailers(error)["kvd-outcome"] == "not executed"
            asked.add(command.command_name())
    assert asked >= {"GET", "SET", "CLEAR", "MULTISET", "TRANSACTION", "ONCE", "CHANGES", "BACKUP"}


def test_a_conflict_tells_the_revision(rpcs):
    rpcs.kvd("Set", key=b"k", value=b"v")
    error = rpc_error(rpcs.kvd, "Set", key=b"k", value=b"w", revision=0)
    assert error.code() is grpc.StatusCode.ABORTED
    assert error.details() == "the key exists, at revision 1"
    assert read_trailers(error) == {"kvd-code": "CONFLICT", "kvd-outcome": "failed", "kvd-details": '{"revision": 1}'}


def test_a_transaction_tells_which_command_it_was(rpcs):
    commands = [
        pb.Command(set=SET(key=b"k", value=b"v")),
        pb.Command(incr=pb.IncrRequest(key=b"k")),
    ]
    error = rpc_error(rpcs.kvd, "Transaction", commands=commands)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert json.loads(read_trailers(error)["kvd-details"])["index"] == 1
    assert plain(rpcs.kvd("Get", key=b"k").result) is None
    nested = pb.Command(transaction=pb.TransactionRequest(commands=commands))
    assert rpc_error(rpcs.kvd, "Transaction", commands=[nested]).code() is grpc.StatusCode.INVALID_ARGUMENT
    error = rpc_error(rpcs.kvd, "Transaction", conditions=[pb.Condition(key=b"k", revision=9)], commands=commands[:1])
    assert json.loads(read_trailers(error)["kvd-details"]) == {"revision": 0, "condition": 0}


REFUSED = [
    ("Get", {"key": bytes(KEY_BYTES_MAX + 1)}, "RESOURCE_EXHAUSTED", "TOO_LARGE"),
    ("Set", {"key": b"k", "value": b"", "nx": True, "xx": True}, "INVALID_ARGUMENT", "BAD_ARGUMENT"),
    ("Incr", {"key": b"text"}, "FAILED_PRECONDITION", "WRONG_TYPE"),
    ("Changes", {"since": 0}, "OUT_OF_RANGE", "COMPACTED"),
    ("Changes", {"since": 2**64 - 1}, "INVALID_ARGUMENT", "BAD_ARGUMENT"),
    ("Info", {"section": "none"}, "INVALID_ARGUMENT", "BAD_ARGUMENT"),
    ("Commands", {"name": "none"}, "UNIMPLEMENTED", "UNKNOWN_COMMAND"),
]


def test_what_is_refused(rpcs):
    rpcs.kvd("Set", key=b"text", value=b"x")
    rpcs.kvd("Set", key=b"text", value=b"y")
    rpcs.kvd("Compact", revision=1)
    for rpc, fields, status, code in REFUSED:
        error = rpc_error(rpcs.kvd, rpc, **fields)
        assert (rpc, error.code().name, read_trailers(error)["kvd-code"]) == (rpc, status, code)
