"""Heads of requests: how long they may be, HTTP/1.0, OPTIONS, and WebSockets that are refused without a log line."""

import contextlib
import json
import os
import socket

import pytest
from support.web import Events

from kvd.gateways.common.tokens import digest, new_token
from kvd.limits import HTTP_HEADER_BYTES_MAX

HOST = b"Host: localhost\r\n"
LONG = b"y" * (HTTP_HEADER_BYTES_MAX + 1)
UPGRADE = (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
VERSION = b"Sec-WebSocket-Version: 13\r\n"


def head(path=b"/livez", *headers, version=b"1.1"):
    return b"GET %s HTTP/%s\r\n" % (path, version) + HOST + b"".join(headers) + b"\r\n"


def websocket(path=b"/v1/watch", *headers):
    return head(path, *UPGRADE, VERSION, *headers)


def connect(gateway):
    return socket.create_connection((gateway.host, gateway.port), timeout=60)


def exchange(gateway, *parts):
    """Send; return everything received until the gateway closes."""
    with connect(gateway) as sock:
        for part in parts:
            sock.sendall(part)
        received = b""
        while more := sock.recv(65_536):
            received += more
        return received


def error_in(received):
    """Return the status and the code of the last answer."""
    head, _, body = received.rpartition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    return int(head.rpartition(b"HTTP/1.1 ")[2][:3]), json.loads(body)["code"]


@pytest.mark.parametrize(
    "data",
    [
        head(b"/livez", b"X: %s\r\n" % LONG),
        head(b"/livez?%s" % LONG),
        head(b"/livez", *[b"X%d: y\r\n" % number for number in range(HTTP_HEADER_BYTES_MAX // 8)]),
        head(b"/v1/watch", *UPGRADE, VERSION, b"X: %s\r\n" % LONG),
    ],
)
def test_a_head_that_is_too_long_is_431_in_one_segment_and_in_parts(web, data):
    parts = [data[at : at + 5_000] for at in range(0, len(data), 5_000)]
    for sent in ([data], parts):
        assert error_in(exchange(web.gateway, *sent)) == (431, "TOO_LARGE")
    assert web.get("/livez", X="y" * (HTTP_HEADER_BYTES_MAX - 1_000)).status == 200


def test_what_is_no_request_is_told_in_json(web):
    assert error_in(exchange(web.gateway, b"GET /kv/a HTTP/1.1\r\nHost localhost\r\n\r\n")) == (400, "BAD_REQUEST")
    assert error_in(exchange(web.gateway, b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 400


def test_trailers_that_are_too_long_are_431(web):
    begin = b"PUT /kv/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    received = exchange(web.gateway, begin, *[b"X: %s\r\n" % (b"y" * 10_000)] * (HTTP_HEADER_BYTES_MAX // 5_000))
    assert error_in(received) == (431, "TOO_LARGE")


# HTTP/1.0


def test_http_1_0_is_kept_alive_for_who_asks(web, kv):
    kv.set("k", "value")
    with connect(web.gateway) as sock:
        for _ in range(3):
            sock.sendall(head(b"/kv/k", b"Connection: keep-alive\r\n", version=b"1.0"))
            received = b""
            while not received.endswith(b"value"):
                received += sock.recv(1_000)
            assert b"\r\nconnection: keep-alive\r\n" in received
    assert b"\r\nconnection: close\r\n" in exchange(web.gateway, head(b"/kv/k", version=b"1.0"))


def test_a_stream_of_http_1_0_ends_with_its_connection(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    with connect(gateway) as sock:
        sock.sendall(head(b"/v1/watch", b"Connection: keep-alive\r\n", version=b"1.0"))
        received = sock.recv(1_000)
        assert b"connection: close\r\n" in received
        assert b"keep-alive" not in received
        gateway.stop()
        while sock.recv(1_000):
            pass


# OPTIONS, and browsers


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/kv/a", {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"}),
        ("/kv", {"GET", "HEAD", "OPTIONS"}),
        ("/v1/commands", {"POST", "OPTIONS"}),
        ("/rm", {"DELETE", "POST", "OPTIONS"}),
        ("/ui", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_options_tells_the_methods(web, path, methods):
    answer = web.ask("OPTIONS", path)
    assert (answer.status, answer.body) == (204, b"")
    assert set(answer.headers["allow"].split(", ")) == methods


def test_options_of_what_is_not_there(web):
    assert web.ask("OPTIONS", "/none").status == 404


def test_a_browser_is_sent_to_the_page(web):
    answer = web.get("/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status, answer.headers["location"], answer.headers["vary"]) == (307, "/ui", "Accept")
    for accept in ("*/*", "application/json"):
        assert web.get("/", Accept=accept).json == {"up": True}


# WebSockets that are refused, or do not keep to their protocol


def frame(code, data=b"", *, mask=True):
    return bytes([0x80 | code, (0x80 if mask else 0) | len(data)]) + (bytes(4) if mask else b"") + data


REFUSED = {
    "nowhere": (404, websocket(b"/nowhere")),
    "host": (403, websocket().replace(b"localhost", b"evil.example")),
    "origin": (403, websocket(b"/v1/watch", b"Origin: http://evil.example\r\n")),
    "query": (400, websocket(b"/v1/watch?x=1")),
    "gone": (410, websocket(b"/v1/watch?history=none")),
    "no key": (400, head(b"/v1/watch", UPGRADE[0], VERSION)),
    "two keys": (400, websocket(b"/v1/watch", UPGRADE[1])),
    "a version of its own": (400, head(b"/v1/watch", *UPGRADE, b"Sec-WebSocket-Version: 7\r\n")),
    "a subprotocol that is none": (400, websocket(b"/v1/watch", b"Sec-WebSocket-Protocol: ,,\xff\r\n")),
    "more headers than a handshake has": (400, websocket(b"/", *[b"X%d: y\r\n" % each for each in range(300)])),
    "a long header": (400, websocket(b"/v1/watch", b"X: %s\r\n" % (b"y" * 20_000))),
    "a body": (400, websocket(b"/v1/watch", b"Content-Length: 1\r\n") + b"x"),
    "chunks": (400, websocket(b"/v1/watch", b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_websocket_is_told_why_and_leaves_no_line_in_the_log(web, name):
    status, data = REFUSED[name]
    before = web.gateway.log.read_text()
    received = exchange(web.gateway, data)
    assert error_in(received)[0] == status
    assert web.get("/livez").status == 200
    assert web.gateway.log.read_text() == before


@pytest.mark.parametrize(
    "data",
    [
        frame(1, b"\xff\xfe"),
        frame(1, b"unmasked", mask=False),
        frame(3, b"no such code"),
        frame(0, b"goes on with nothing"),
        frame(8, b"\0"),
        frame(8, b"\x03\xe8\xff"),
        b"\x81\xff" + (2**40).to_bytes(8, "big"),
        os.urandom(300),
    ],
)
def test_a_websocket_that_breaks_the_rules_leaves_no_line_in_the_log(web, data):
    before = web.gateway.log.read_text()
    with connect(web.gateway) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(websocket())
        received = sock.recv(1_000)
        assert received.startswith(b"HTTP/1.1 101 ")
        sock.sendall(data + frame(8))
        while sock.recv(1_000):
            pass
    assert web.get("/livez").status == 200
    assert web.gateway.log.read_text() == before


def test_a_websocket_behind_a_request_that_is_not_answered_yet_takes_nothing_from_it(web, kv):
    before = web.gateway.log.read_text()
    put = b"PUT /kv/a HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
    assert exchange(web.gateway, put + websocket(b"/nowhere")).startswith(b"HTTP/1.1 200 OK")
    assert kv.get("a") == b"x"
    assert web.gateway.log.read_text() == before


def test_a_token_that_is_none_leaves_no_line_in_the_log(daemon, make_gateway, tmp_path):
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[ada]\ntoken = "{digest(new_token())}"\n')
    gateway = make_gateway("http", daemon.commands, "--token-file", str(tokens))
    before = gateway.log.read_text()
    assert error_in(exchange(gateway, websocket())) == (401, "NOT_KNOWN")
    with Events(gateway) as events:
        assert events.response.status == 401
    assert gateway.log.read_text() == before
