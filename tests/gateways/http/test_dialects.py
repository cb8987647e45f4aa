"""The REST interface and both JSON dialects return exactly the output of the older systems."""

import json

import pytest
from websockets.sync.client import connect


@pytest.mark.parametrize(
    ("line", "code", "printed"),
    [
        ("http://HOST/kv/city", 0, "Ahmedabad"),
        ("--fail http://HOST/kv/none", 22, ""),
        ("-d Surat http://HOST/kv/city", 0, "OK"),
        ("-X PUT -d Surat http://HOST/kv/city", 0, "OK"),
        ("-X DELETE http://HOST/kv/city", 0, "OK"),
        ("-X DELETE http://HOST/kv/none", 0, "OK"),
        ("-w %{http_code} -X DELETE http://HOST/kv/none", 0, "OK200"),
        ("-w %{http_code} -o /dev/null http://HOST/kv/none", 0, "404"),
        ("http://HOST/kv/a%2Fb%20c/d", 0, "slashed"),
        ("http://HOST/kv/a/b%20c/d", 0, "slashed"),
        # JSON, first
        ("""-d '{"Key": "city"}' http://HOST/get""", 0, '{"Key":"city","Value":"Ahmedabad"}'),
        ("""-d '{"Key": "none"}' http://HOST/get""", 0, "The given key is not present in the data store."),
        ("""--fail -d '{"Key": "none"}' http://HOST/get""", 22, ""),
        ("""-d '{"Key": "City", "Value": "Surat"}' http://HOST/set""", 0, '"SUCCESS"'),
        ("http://HOST/getall", 0, '{"a/b c/d":"slashed","city":"Ahmedabad"}'),
        # JSON, second
        ("http://HOST/", 0, '{"up":true}'),
        (
            """-w %{http_code} -d '{"key": "abc", "val": "xyz"}' http://HOST/set""",
            0,
            '{"inserted":true,"ejected_val":null}201',
        ),
        ("""-d '{"key": "city", "val": "xyz"}' http://HOST/set""", 0, '{"inserted":true,"ejected_val":"Ahmedabad"}'),
        ("'http://HOST/get?key=city'", 0, '{"found":true,"val":"Ahmedabad","inserted_val":"Ahmedabad"}'),
        ("'http://HOST/get?key=none'", 0, '{"found":false,"val":null,"inserted_val":null}'),
        ("-w %{http_code} 'http://HOST/get?key=none'", 0, '{"found":false,"val":null,"inserted_val":null}200'),
        (
            """-X DELETE -d '{"key": "city"}' http://HOST/rm""",
            0,
            '{"found":true,"removed":true,"ejected_val":"Ahmedabad"}',
        ),
        ("""-d '{"key": "none"}' http://HOST/rm""", 0, '{"found":false,"removed":false,"ejected_val":null}'),
    ],
)
def test_what_curl_prints(web, kv, line, code, printed):
    kv.set("city", "Ahmedabad")
    kv.set("a/b c/d", "slashed")
    done = web.curl(line)
    assert (done.returncode, done.stdout) == (code, printed), done.stderr


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/get", {"val": "city"}),
        ("POST", "/get", []),
        ("POST", "/set", []),
        ("POST", "/set", {"value": "x"}),
        ("POST", "/get", b"{"),
        ("POST", "/set", {"Key": "a"}),
        ("POST", "/set", {"key": "a"}),
        ("POST", "/set", {"key": "a", "val": 3}),
        ("POST", "/set", {"key": "", "val": "x"}),
        ("POST", "/set", {"key": {"base64": "?"}, "val": "x"}),
        ("GET", "/get", None),
        ("GET", "/get?Key=city", None),
        ("GET", "/get?key=a&key=b", None),
        ("DELETE", "/rm", {"Key": "a"}),
    ],
)
def test_what_is_none_of_a_dialects_requests_says_why(web, kv, method, path, body):
    answer = web.ask(method, path, body)
    assert answer.status == 400, answer
    assert answer.json["code"] in ("BAD_ARGUMENT", "BAD_REQUEST")
    assert answer.json["message"]
    assert kv.count() == 0


@pytest.mark.parametrize("names", [("key", "value"), ("KEY", "VALUE"), ("Key", "value"), ("kEY", "Value")])
def test_the_first_dialect_takes_its_names_in_any_case(web, kv, names):
    """Go decodes names in any case."""
    key, value = names
    assert web.ask("POST", "/set", {key: "City", value: "Surat"}).json == "SUCCESS"
    assert kv.get("City") == b"Surat"
    assert web.ask("POST", "/get", {key: "City"}).json == {"Key": "City", "Value": "Surat"}


def test_the_second_dialect_is_known_by_its_val(web, kv):
    assert web.ask("POST", "/set", {"key": "a", "val": "x"}).status == 201
    assert web.ask("POST", "/set", {"key": "a", "val": "y", "value": "z"}).json["ejected_val"] == "x"
    assert kv.get("a") == b"y"
    told = web.ask("POST", "/set", {"key": "a"}).json["message"]
    assert told == 'the body needs "key" and "val", or "Key" and "Value"'
    assert web.ask("POST", "/set", ["a"]).json["message"] == "the body must be an object, not an array"


def test_bytes_that_are_no_text_keep_their_bytes(web, kv):
    value = {"base64": "AP8="}
    assert web.ask("POST", "/set", {"Key": "b", "Value": value}).json == "SUCCESS"
    assert kv.get("b") == b"\x00\xff"
    assert web.ask("POST", "/get", {"Key": "b"}).json["Value"] == value
    assert web.get("/get?key=b").json["val"] == value
    kv.set(b"\xff", "x")
    assert web.get("/get?key=%FF").json["val"] == "x"


def test_all_pairs_leave_out_keys_that_are_no_text_and_count_them(web, kv):
    assert (web.get("/getall").json, web.get("/getall").headers["kvd-omitted"]) == ({}, "0")
    kv.multiset({"a": "1", b"\xff": "2", b"a\xfe": "3", "b": b"\x00\xff"})
    answer = web.get("/getall")
    assert (answer.status, answer.json) == (200, {"a": "1", "b": {"base64": "AP8="}})
    assert answer.headers["kvd-omitted"] == "2"
    for number in range(3):
        kv.set(b"\xff%d" % number, bytes(12_000_000))
    assert web.get("/getall").headers["kvd-omitted"] == "5"


def test_all_pairs_are_one_object_as_far_as_it_goes(web, kv):
    kv.multiset({f"k:{number:04}": "x" for number in range(1_000)})
    assert web.get("/getall").json == {f"k:{number:04}": "x" for number in range(1_000)}
    for number in range(3):
        kv.set(f"large:{number}", b"x" * 12_000_000)
    answer = web.get("/getall")
    assert (answer.status, answer.json["code"]) == (413, "TOO_LARGE")


def test_subscribe_tells_each_change_at_once_and_pings_are_no_matter(web, kv):
    with connect(f"ws://{web.gateway.address}/subscribe") as socket:
        kv.set("City", "Ahmedabad")
        record = {"Topic": "kvd", "Partition": 0, "Offset": web.now + 1, "Key": "City", "Value": "Ahmedabad"}
        assert json.loads(socket.recv(20)) == record
        socket.send("Keepalive ping")
        kv.clear("City")
        assert json.loads(socket.recv(20)) == {**record, "Offset": web.now + 2, "Value": None}
