"""/v1/commands and /openapi.json: every command of the daemon is there, without a line about it in the gateway."""

import base64
import contextlib
import json
import re
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.example_calls import example_of, fields_of

from kvd import wire
from kvd.commands import COMMANDS
from kvd.commands.atomic import Once, Transaction
from kvd.commands.values import MultiSet, Set
from kvd.errors import CODES, BadArgument, ClientError, LockLost, LockNotAcquired, UnknownCommand
from kvd.gateways.common.error_body import error_body_of
from kvd.gateways.common.upstream import NotKnown
from kvd.gateways.http.errors import STATUS, body_of, status_of
from kvd.gateways.http.json_commands import command_of, schema_of
from kvd.gateways.http.openapi import text
from kvd.json_bytes import SLICE, decode_bytes, encode_bytes, to_json
from kvd.limits import HTTP_JSON_VALUES_MAX, IN_FLIGHT_MAX

DOCUMENT = json.loads(text())

# A call of each command, as JSON, and its result in a store where `a` is 1. A command without a row is called by its
# example.
CALLS = {
    "GET": ({"key": "a"}, "1"),
    "SET": ({"key": "b", "value": "2", "ttl": 60_000, "previous": True}, None),
    "CLEAR": ({"keys": ["a", "none"]}, 1),
    "MULTIGET": ({"keys": ["a", "none"]}, ["1", None]),
    "MULTISET": ({"pairs": [["x", "1"], [{"base64": "/w=="}, "2"]], "ttl": 60_000}, None),
    "TAKE": ({"key": "a"}, "1"),
    "TAKEFIRST": ({"prefix": "a", "wait_ms": 60_000}, ["a", "1"]),
    "INCR": ({"key": "a", "by": 41}, 42),
    "APPEND": ({"key": "a", "value": "23"}, 3),
    "GETRANGE": ({"key": "a", "start": 0, "end": -1}, "1"),
    "STRLEN": ({"key": "a"}, 1),
    "EXISTS": ({"keys": ["a", "a"]}, 2),
    "ENTRY": ({"key": "none", "value": True}, None),
    "SCAN": ({"prefix": "a", "limit": 1}, [["a"], None]),
    "COUNT": ({"prefix": "a"}, 1),
    "CLEARPREFIX": ({"prefix": "a", "limit": 5}, 1),
    "EXPIRE": ({"key": "a", "ttl": 60_000}, 1),
    "PERSIST": ({"key": "a"}, 0),
    "GETEX": ({"key": "a", "ttl": 60_000}, "1"),
    "TTL": ({"key": "a"}, -1),
    "TRANSACTION": (
        {"conditions": [["none", 0]], "commands": [{"command": "SET", "key": "a", "value": "7"}]},
        [None],
    ),
    "ONCE": ({"token": "12345678", "write": {"command": "INCR", "key": "a"}}, 2),
    "CHANGES": ({"since": 0, "prefix": "none"}, []),
    "HISTORY": ({"key": "none"}, [[], None]),
    "COMPACT": ({"revision": 0}, 0),
    "PING": ({"message": "hello"}, "hello"),
    "INFO": ({"section": "server"}, None),
    "COMMANDS": ({"name": "GET"}, None),
    "CONFIG": ({"option": "fsync"}, None),
    "CHECK": ({}, None),
    "BACKUP": ({"name": "monday.kvd"}, None),
    "SLOWLOG": ({"count": 1, "reset": True}, None),
    "CLIENTS": ({}, None),
}
for name in COMMANDS.keys() - CALLS.keys():
    CALLS[name] = (to_json(fields_of(example_of(name))), ANY)
MAPS = ("INFO", "COMMANDS", "CONFIG", "CHECK", "BACKUP", "SLOWLOG", "CLIENTS")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_runs_as_json(web, kv, name):
    kv.set("a", "1")
    arguments, result = CALLS[name]
    answer = web.command(command=name, **arguments)
    assert answer.status == 200, answer
    if name in MAPS:
        assert isinstance(answer.json["result"], dict | list)
    else:
        assert answer.json["result"] == result
    assert answer.json["revision"] <= kv.info("server")["server"]["revision"]


def test_no_field_of_a_command_has_the_name_of_the_name():
    assert not [name for name, command in COMMANDS.items() if "command" in command.__struct_fields__]


@pytest.mark.parametrize(
    ("given", "code", "part"),
    [
        (b"", "BAD_REQUEST", "not JSON"),
        (b"{", "BAD_REQUEST", "not JSON"),
        (b"\xff", "BAD_REQUEST", "not JSON"),
        (b"[" * 100_000, "BAD_REQUEST", "not JSON"),
        (3, "BAD_ARGUMENT", "a command must be an object"),
        ({}, "BAD_ARGUMENT", "a command must be an object"),
        ({"command": 3}, "BAD_ARGUMENT", "a command must be an object"),
        ({"command": "GETT", "key": "a"}, "UNKNOWN_COMMAND", "no command 'GETT': did you mean GET?"),
        ({"command": "set", "key": "a"}, "UNKNOWN_COMMAND", "no command 'set': did you mean SET?"),
        ({"command": "multi_get"}, "UNKNOWN_COMMAND", "did you mean MULTIGET?"),
        ({"command": "\u0130" * 5_000}, "UNKNOWN_COMMAND", "see /openapi.json"),
        ({"command": "GET"}, "BAD_ARGUMENT", "GET needs 'key'"),
        ({"command": "GET", "kee": "a"}, "BAD_ARGUMENT", "did you mean key?"),
        ({"command": "CLIENTS", "q": 1}, "BAD_ARGUMENT", "its fields: none"),
        (
            {"command": "GET", "key": 3},
            "BAD_ARGUMENT",
            'a string, or {"base64": "..."}, not a number',
        ),
        ({"command": "GET", "key": {}}, "BAD_ARGUMENT", "not an object"),
        ({"command": "GET", "key": ["a"]}, "BAD_ARGUMENT", "not an array"),
        ({"command": "GET", "key": True}, "BAD_ARGUMENT", "not a boolean"),
        ({"command": "GET", "key": ""}, "BAD_ARGUMENT", "length >= 1"),
        ({"command": "GET", "key": {"base64": "!"}}, "BAD_ARGUMENT", "GET: key: "),
        ({"command": "GET", "key": "\ud800"}, "BAD_REQUEST", "not JSON"),
        (
            {"command": "SET", "key": "a", "value": "x", "ttl": "60"},
            "BAD_ARGUMENT",
            "ttl: expected an integer or null, got a string",
        ),
        ({"command": "SET", "key": "a", "value": "x", "ttl": 1.5}, "BAD_ARGUMENT", "got a fraction"),
        ({"command": "SET", "key": "a", "value": "x", "nx": 1}, "BAD_ARGUMENT", "a boolean or null, got an integer"),
        ({"command": "MULTISET", "pairs": {"a": "b"}}, "BAD_ARGUMENT", "pairs: expected an array, got an object"),
        ({"command": "SET", "key": "a", "value": "x", "ttl": 2**70}, "BAD_ARGUMENT", "number"),
        ({"command": "SET", "key": "a", "value": "x", "ttl": 1, "at": 5}, "BAD_ARGUMENT", "exclude each other"),
        ({"command": "MULTIGET", "keys": "a"}, "BAD_ARGUMENT", "keys"),
        ({"command": "MULTISET", "pairs": [["a"]]}, "BAD_ARGUMENT", "pairs"),
        ({"command": "ONCE", "token": "12345678", "write": {"command": "GET", "key": "a"}}, "BAD_ARGUMENT", "ONCE"),
        ({"command": "TRANSACTION", "conditions": [], "commands": [3]}, "BAD_ARGUMENT", "commands"),
        ({"command": "TRANSACTION"}, "BAD_ARGUMENT", "TRANSACTION needs 'commands'"),
        ({"command": "MULTIGET"}, "BAD_ARGUMENT", "MULTIGET needs 'keys'"),
    ],
)
def test_what_is_no_command_says_why(web, given, code, part):
    answer = web.ask("POST", "/v1/commands", given)
    assert (answer.status, answer.json["code"]) == (400, code), answer
    assert part in answer.json["message"], answer.json
    assert answer.json["outcome"] == "not executed"
    words_of_python = re.search(r"\b(dict|list|str|int|float|bool|NoneType|nil|map|tuple)\b", answer.json["message"])
    assert words_of_python is None, answer.json


def test_a_transaction_without_conditions_has_none(web, kv):
    inner = [{"command": "INCR", "key": "n"}]
    for command in ({"command": "TRANSACTION", "commands": inner}, {"command": "TRANSACTION", "conditions": None}):
        web.command(**{**command, "commands": inner})
    assert kv.get("n") == b"2"
    assert DOCUMENT["components"]["schemas"]["TRANSACTION"]["required"] == ["command", "commands"]


@pytest.mark.parametrize(("part", "count"), [(",", 8_000_000), ('{"a":["b"]},', 600_000), ('\\",', 1_000_000)])
def test_a_large_text_may_look_like_many_values(web, kv, part, count):
    value = part * count
    assert web.ask("POST", "/v1/commands", {"command": "SET", "key": "a", "value": value}).status == 200
    is_same = kv.get("a") == value.encode()  # pytest would compare them line by line
    assert is_same


MANY = {
    "arrays": b"[%s[]]" % (b"[]," * 3_000_000),
    "strings": b'{"keys":[%s""]}' % (b'"",' * 1_000_000),
    "objects": b"[%s{}]" % (b'{"a":1},' * 300_000),
}


@pytest.mark.parametrize("kind", MANY)
def test_more_values_than_commands_have_are_refused_before_they_are_decoded(web, kind):
    answer = web.ask("POST", "/v1/commands", MANY[kind])
    assert (answer.status, answer.json["code"]) == (413, "TOO_LARGE")
    assert f"more than {HTTP_JSON_VALUES_MAX} values" in answer.json["message"]


@pytest.mark.parametrize("size", [0, 1, 2, 3, SLICE // 4 * 3 - 1, SLICE // 4 * 3, SLICE // 4 * 3 + 1, 2 * SLICE])
def test_base64_of_any_length_is_decoded(size):
    data = bytes(range(256)) * (size // 256 + 1)
    text = base64.b64encode(data[:size]).decode()
    assert decode_bytes({"base64": text}) == data[:size]
    for bad in (text + "QQ==" + text + "QQ==", text + "!", text[:-1] + "\n") if size else ():
        with pytest.raises(BadArgument):
            decode_bytes({"base64": bad})


def test_an_array_runs_in_order_and_each_for_itself(web):
    calls = [
        {"command": "INCR", "key": "n"},
        {"command": "NONE"},
        {"command": "INCR", "key": "n"},
        {"command": "SET", "key": "n", "value": "x", "nx": True},
        {"command": "GET", "key": "n"},
    ]
    first, second, third, fourth, fifth = web.ask("POST", "/v1/commands", calls).json
    assert (first["result"], third["result"], fifth["result"]) == (1, 2, "2")
    assert second["error"]["code"] == "UNKNOWN_COMMAND"
    assert (fourth["error"]["code"], fourth["error"]["details"]["revision"]) == ("CONFLICT", third["revision"])
    assert web.ask("POST", "/v1/commands", []).json == []
    assert web.ask("POST", "/v1/commands", [calls[0]] * (IN_FLIGHT_MAX + 1)).status == 413


def test_an_error_has_its_status_and_its_details(web, kv):
    kv.set("a", "x")
    answer = web.command(command="SET", key="a", value="y", nx=True)
    assert (answer.status, answer.json["outcome"]) == (409, "failed")
    assert answer.json["details"] == {"revision": web.now + 1}
    assert web.command(command="INCR", key="a").json["code"] == "WRONG_TYPE"
    assert web.command(command="CHANGES", since=10**9).status == 400


def test_each_error_has_a_status():
    classes = {*CODES.values(), *ClientError.__subclasses__(), NotKnown}
    classes |= {each for cls in ClientError.__subclasses__() for each in cls.__subclasses__()}
    classes -= {LockLost, LockNotAcquired}  # only a client has locks
    assert classes == set(STATUS)
    for cls in classes:
        error = cls("why")
        body = body_of(error)
        assert (body["message"], body["code"]) == ("why", error_body_of(error).code)
        assert 400 <= status_of(error) < 600
    assert error_body_of(NotKnown("x")) == ("NOT_KNOWN", "x", "not executed", {})


# What the pure parts say

ANY = st.binary(max_size=8)


@given(ANY)
def test_bytes_come_back_from_json(data):
    assert decode_bytes(json.loads(json.dumps(encode_bytes(data)))) == data


@given(ANY, ANY, st.integers(1, 2**40))
def test_a_command_from_json_is_the_command(key, value, ttl):
    key = key or b"k"
    found = {"command": "SET", "key": encode_bytes(key), "value": encode_bytes(value), "ttl": ttl}
    assert command_of(found) == Set(key, value, ttl=ttl)
    pairs = {"command": "MULTISET", "pairs": [[encode_bytes(key), encode_bytes(value)]]}
    assert command_of(pairs) == MultiSet([(key, value)])
    inner = [{"command": "SET", "key": encode_bytes(key), "value": encode_bytes(value)}]
    both = {"command": "TRANSACTION", "conditions": [[encode_bytes(key), 7]], "commands": inner}
    assert command_of(both) == Transaction([(key, 7)], [Set(key, value)])
    assert command_of({"command": "ONCE", "token": "12345678", "write": both}) == Once(b"12345678", command_of(both))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_json_says_is_a_command_or_a_sentence(found):
    for guess in (found, {"command": "SET", "key": found, "value": found, "ttl": found}, {"command": found}):
        with contextlib.suppress(BadArgument, UnknownCommand):
            assert wire.encode(command_of(guess))


def test_results_are_shown_in_depth():
    assert to_json({"a": [b"x", (b"\xff", None)], "b": {"c": 1.5}}) == {
        "a": ["x", [{"base64": "/w=="}, None]],
        "b": {"c": 1.5},
    }


# The document


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_schema(name):
    schema = DOCUMENT["components"]["schemas"][name]
    assert schema == json.loads(json.dumps(schema_of(COMMANDS[name])))
    assert {"$ref": f"#/components/schemas/{name}"} in DOCUMENT["components"]["schemas"]["Command"]["oneOf"]
    assert set(schema["properties"]) == {"command", *COMMANDS[name].__struct_fields__}
    assert set(CALLS[name][0]) | {"command"} >= set(schema["required"])


def test_bounds_are_in_the_document():
    assert DOCUMENT["components"]["schemas"]["SET"]["properties"]["ttl"]["anyOf"][0]["minimum"] == 1
    keys = DOCUMENT["components"]["schemas"]["MULTIGET"]["properties"]["keys"]
    assert (keys["minItems"], keys["maxItems"]) == (1, 10_000)


def operations():
    return [operation for path in DOCUMENT["paths"].values() for operation in path.values()]


def nodes(value):
    """Yield each object in a part of the document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def test_generators_of_clients_can_read_the_document():
    """redocly lint, openapi-python-client and openapi-typescript read it without a warning; each found one of these."""
    names = [operation["operationId"] for operation in operations()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z]+", name) for name in names)
    assert DOCUMENT["servers"][0]["url"] == "/"
    assert DOCUMENT["info"]["license"]["identifier"] == "MIT"
    for node in nodes(DOCUMENT):
        assert node.get("items") is not False
        assert "prefixItems" not in node or node["minItems"] == node["maxItems"] == len(node["prefixItems"])
        if isinstance(node.get("content"), dict):
            assert all(kind.get("schema") for kind in node["content"].values()), node
        if node.get("in") == "header":
            assert node["schema"]["type"] == "string"
        reference = node.get("$ref")
        if reference is not None:
            _, _, kind, name = reference.split("/")
            assert name in DOCUMENT["components"][kind]


def test_the_document_tells_all_paths_there_are(web):
    found = web.get("/openapi.json")
    assert found.json == DOCUMENT
    told = set(DOCUMENT["paths"])
    from kvd.gateways.http.app import ROUTES  # noqa: PLC0415

    served = {route.path.replace("{key:key}", "{key}") for route in ROUTES} - {"/subscribe"}
    assert told == served
