"""/kv over a real socket: bytes, revisions as ETags, conditions, expiry, pages."""

import socket
import time
from urllib.parse import quote_from_bytes

import pytest
from support.running import eventually

from kvd.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX


@pytest.mark.parametrize(
    "key", [b"a", b"a/b", b"/", b"//a//", b"a b", b"\x00", b"\xff\xfe", b"a\n", b"\n", "ключ".encode(), b"?#%", b"%2F"]
)
def test_any_key_and_any_value_come_back_as_they_were(web, kv, key):
    value = bytes(range(256))
    assert web.ask("PUT", f"/kv/{quote_from_bytes(key)}", value).status == 200
    assert kv.get(key) == value
    answer = web.get(f"/kv/{quote_from_bytes(key, safe='')}")
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, value, f'"{kv.entry(key).revision}"')
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert web.ask("DELETE", f"/kv/{quote_from_bytes(key)}").status == 200
    assert kv.count() == 0


def test_an_empty_value_is_a_value(web, kv):
    assert web.ask("PUT", "/kv/a", b"").status == 200
    assert web.get("/kv/a").body == b""
    assert kv.get("a") == b""


def test_head_tells_without_the_value(web, kv):
    kv.set("a", b"x" * 1_000)
    answer = web.ask("HEAD", "/kv/a")
    assert (answer.status, answer.body) == (200, b"")
    assert (answer.headers["content-length"], answer.headers["etag"]) == ("1000", f'"{web.now + 1}"')
    assert web.ask("HEAD", "/kv/none").status == 404


def test_a_write_answers_the_revision_that_it_made(web, kv):
    kv.set("other", "x")
    assert web.ask("PUT", "/kv/a", b"1").headers["etag"] == f'"{web.now + 2}"'
    assert web.get("/kv/a", If_None_Match=f'"{web.now + 2}"').status == 304
    assert web.get("/kv/a", If_None_Match=f'W/"{web.now + 2}", "9"').status == 304
    assert web.get("/kv/a", If_None_Match=f'"{web.now + 1}"').status == 200


@pytest.mark.parametrize(
    ("method", "headers", "status", "left"),
    [
        ("PUT", {"If_Match": '"NOW"'}, 200, b"new"),
        ("PUT", {"If_Match": '"999"'}, 412, b"old"),
        ("PUT", {"If_Match": "*"}, 200, b"new"),
        ("PUT", {"If_None_Match": "*"}, 412, b"old"),
        ("DELETE", {"If_Match": '"NOW"'}, 200, None),
        ("DELETE", {"If_Match": '"999"'}, 412, b"old"),
        ("DELETE", {"If_Match": "*"}, 200, None),
        ("PUT", {"If_Match": '"1", "2"'}, 400, b"old"),
        ("PUT", {"If_Match": "1"}, 400, b"old"),
        ("PUT", {"If_Match": '"99999999999999999999"'}, 400, b"old"),
        ("PUT", {"If_None_Match": '"1"'}, 400, b"old"),
        ("PUT", {"If_None_Match": "*", "If_Match": "*"}, 400, b"old"),
        ("DELETE", {"If_None_Match": '"1"'}, 400, b"old"),
    ],
)
def test_a_write_on_a_condition(web, kv, method, headers, status, left):
    kv.set("a", "old")
    named = {name: value.replace("NOW", str(web.now + 1)) for name, value in headers.items()}
    answer = web.ask(method, "/kv/a", b"new" if method == "PUT" else None, **named)
    assert (answer.status, kv.get("a")) == (status, left), answer
    if status == 412:
        assert (answer.json["code"], answer.json["details"]["revision"]) == ("CONFLICT", web.now + 1)


def test_a_key_that_must_not_exist_is_made_and_one_that_must_is_not(web, kv):
    assert web.ask("PUT", "/kv/a", b"1", If_None_Match="*").status == 200
    assert web.ask("PUT", "/kv/b", b"1", If_Match="*").status == 412
    assert kv.count() == 1


def test_ttl_is_in_seconds_and_the_end_is_told(web, kv):
    assert web.ask("PUT", "/kv/a?ttl=1000", b"1").status == 200
    before = time.time() * 1000
    assert before + 900_000 < int(web.get("/kv/a").headers["kvd-expires"]) < before + 1_100_000
    assert web.ask("PUT", "/kv/b?ttl=0.05", b"1").status == 200
    eventually(lambda: web.get("/kv/b").status == 404)
    eventually(lambda: kv.info("server")["server"]["revision"] == web.now + 3)  # else its end comes in the next test
    assert web.ask("PUT", "/kv/a", b"1").status == 200
    assert "kvd-expires" not in web.get("/kv/a").headers


@pytest.mark.parametrize(
    "query", ["ttl=0", "ttl=-1", "ttl=x", "ttl=", "ttl=1e3", "ttl=1&ttl=2", "tll=1", "ttl=99999999999", "ttl=%FF"]
)
def test_a_query_that_does_not_fit_says_so_and_nothing_is_written(web, kv, query):
    answer = web.ask("PUT", f"/kv/a?{query}", b"1")
    assert (answer.status, answer.json["code"]) == (400, "BAD_ARGUMENT"), answer
    assert kv.count() == 0


def test_pages_of_keys_and_of_entries(web, kv):
    for number in range(5):
        kv.set(f"u:{number}", f"v{number}")
    kv.set(b"u:\xff", "binary", ttl=1000)
    first = web.get("/kv?prefix=u:&limit=2").json
    assert first == {"revision": web.now + 6, "items": ["u:0", "u:1"], "next": "u:1"}
    second = web.get("/kv?prefix=u:&limit=3&after=u:1&values=1").json
    assert [entry["value"] for entry in second["items"]] == ["v2", "v3", "v4"]
    assert second["items"][0] == {"key": "u:2", "value": "v2", "revision": web.now + 3, "expires": None}
    last = web.get("/kv?prefix=u%3A&after=u:4&values=true").json
    assert (last["items"][0]["key"], last["next"]) == ({"base64": "dTr/"}, None)
    assert last["items"][0]["expires"] > time.time() * 1000
    assert web.get("/kv?after=u%3A%FF").json["items"] == []
    assert len(web.get("/kv").json["items"]) == 6


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "limit=x", "after=", "values=maybe", "x=1", "limit=1&limit=2"]
)
def test_a_page_that_cannot_be_says_why(web, query):
    answer = web.get(f"/kv?{query}")
    assert (answer.status, answer.json["code"]) == (400, "BAD_ARGUMENT"), answer


def test_limits_of_keys_and_values(web, kv):
    longest = "k" * KEY_BYTES_MAX
    assert web.ask("PUT", f"/kv/{longest}", b"x").status == 200
    assert web.ask("PUT", f"/kv/{longest}k", b"x").status == 413
    assert web.get(f"/kv?prefix={longest}k").json["code"] == "TOO_LARGE"
    assert web.get("/kv/").json["code"] == "BAD_ARGUMENT"
    assert web.ask("PUT", "/kv/large", b"x" * VALUE_BYTES_MAX).status == 200
    assert len(web.get("/kv/large").body) == VALUE_BYTES_MAX
    assert kv.count() == 2


def test_a_body_that_is_too_large_is_refused_before_it_comes(web):
    with socket.create_connection((web.gateway.host, web.gateway.port), timeout=60) as sock:
        head = f"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {VALUE_BYTES_MAX + 1}\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(1_000).startswith(b"HTTP/1.1 413 ")


def test_a_body_in_chunks_is_counted(web, kv):
    answer = web.ask("PUT", "/kv/a", b"5\r\nhello\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    assert (answer.status, kv.get("a")) == (200, b"hello")
    with socket.create_connection((web.gateway.host, web.gateway.port), timeout=60) as sock:
        sock.sendall(b"PUT /kv/b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        part = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        for _ in range(20):
            sock.sendall(part)
        assert sock.recv(1_000).startswith(b"HTTP/1.1 413 ")
        assert kv.get("b") is None


@pytest.mark.parametrize("method", ["PATCH", "TRACE"])
def test_other_methods_are_not_allowed(web, method):
    answer = web.ask(method, "/kv/a")
    assert (answer.status, answer.json["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD, PUT, POST, DELETE"


@pytest.mark.parametrize("path", ["/%6bv/a", "/kv%2Fa", "/k%76/a"])
def test_a_path_that_is_ours_only_after_decoding_names_no_key(web, kv, path):
    assert web.ask("PUT", path, b"x").status == 404
    assert kv.count() == 0
