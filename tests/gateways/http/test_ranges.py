"""Range: how a header is read, and parts of values over a real socket."""

import pytest

from kvd.gateways.http.ranges import NOTHING, Range, parse_range
from kvd.limits import INTEGER_MAX


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", Range(0, 0)),
        ("bytes=2-5", Range(2, 5)),
        ("Bytes= 2-5 ", Range(2, 5)),
        ("bytes=2-", Range(2, None)),
        ("bytes=-3", Range(-3, None)),
        ("bytes=-0", NOTHING),
        ("bytes=000-0000000000000000000000001", Range(0, 1)),
        (f"bytes=0-{'9' * 5_000}", Range(0, INTEGER_MAX)),
        (f"bytes={'9' * 5_000}-", Range(INTEGER_MAX, None)),
        (f"bytes=-{'9' * 5_000}", Range(-INTEGER_MAX, None)),
        (None, None),
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("bytes=\u0661-\u0662", None),
        ("items=0-1", None),
    ],
)
def test_a_header_is_one_range_of_bytes_or_is_ignored(header, expected):
    assert parse_range(header) == expected


@pytest.mark.parametrize(
    ("asked", "body", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-5", b"2345", "bytes 2-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=7-99", b"789", "bytes 7-9/10"),
        ("bytes=-4", b"6789", "bytes 6-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        (f"bytes=9-{'9' * 30}", b"9", "bytes 9-9/10"),
    ],
)
def test_a_range_is_that_part_of_the_value(web, kv, asked, body, content_range):
    kv.set("a", "0123456789", ttl=1000)
    answer = web.get("/kv/a", Range=asked)
    assert (answer.status, answer.body, answer.headers["content-range"]) == (206, body, content_range)
    assert answer.headers["etag"] == f'"{web.now + 1}"'
    assert (answer.headers["accept-ranges"], answer.headers["content-length"]) == ("bytes", str(len(body)))
    assert "kvd-expires" in answer.headers


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-12", "bytes=-0", f"bytes={'9' * 30}-"])
def test_a_range_outside_the_value_is_refused_with_its_size(web, kv, asked):
    kv.set("a", "0123456789")
    answer = web.get("/kv/a", Range=asked)
    assert (answer.status, answer.json["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == "bytes */10"


def test_every_range_lies_outside_an_empty_value(web, kv):
    kv.set("a", "")
    assert web.get("/kv/a", Range="bytes=0-").headers["content-range"] == "bytes */0"
    assert web.get("/kv/a", Range="bytes=-1").status == 416
    assert web.get("/kv/a").status == 200


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "items=0-1", "bytes=5-2"])
def test_a_range_that_is_not_served_gives_the_whole_value(web, kv, asked):
    kv.set("a", "0123456789")
    answer = web.get("/kv/a", Range=asked)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert "content-range" not in answer.headers


def test_if_range_gives_a_part_of_the_same_revision_only(web, kv):
    kv.set("a", "0123456789")
    etag = web.get("/kv/a").headers["etag"]
    assert web.get("/kv/a", Range="bytes=0-1", If_Range=etag).status == 206
    kv.set("a", "abcdef")
    answer = web.get("/kv/a", Range="bytes=0-1", If_Range=etag)
    assert (answer.status, answer.body) == (200, b"abcdef")
    assert web.get("/kv/a", Range="bytes=0-1", If_Range=f"W/{answer.headers['etag']}").status == 200
    assert web.get("/kv/a", Range="bytes=99-", If_Range=etag).body == b"abcdef"


def test_what_a_client_has_already_comes_before_its_range(web, kv):
    kv.set("a", "0123456789")
    etag = web.get("/kv/a").headers["etag"]
    assert web.get("/kv/a", Range="bytes=0-1", If_None_Match=etag).status == 304
    assert web.get("/kv/none", Range="bytes=0-1").status == 404


def test_head_knows_no_range(web, kv):
    kv.set("a", "0123456789")
    answer = web.ask("HEAD", "/kv/a", Range="bytes=0-1")
    assert (answer.status, answer.headers["content-length"], answer.headers["accept-ranges"]) == (200, "10", "bytes")


def test_a_page_with_sizes_has_no_values(web, kv):
    kv.set("s:1", "123", ttl=1000)
    kv.set("s:2", "")
    page = web.get("/kv?prefix=s:&sizes=1").json
    assert [(each["key"], each["size"], each["revision"]) for each in page["items"]] == [
        ("s:1", 3, web.now + 1),
        ("s:2", 0, web.now + 2),
    ]
    assert page["items"][0].keys() == {"key", "size", "revision", "expires"}
    assert page["items"][1]["expires"] is None
    answer = web.get("/kv?sizes=1&values=1")
    assert (answer.status, answer.json["message"]) == (400, "values and sizes exclude each other: give one of them")
