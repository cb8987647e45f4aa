"""Clients that mean no good, or know no better: junk, heads without end, silence, bodies that do not come."""

import contextlib
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running import eventually
from web import Web
from websockets.sync.client import connect

from kvd.limits import HTTP_BODIES_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_WATCHERS_MAX, MIB, VALUE_BYTES_MAX

GOOD = b"GET /kv/a HTTP/1.1\r\nHost: localhost\r\nX-Y: z\r\n\r\n"


UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def opened(gateway):
    return socket.create_connection((gateway.host, gateway.port), timeout=20)


def memory(gateway):
    words = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="ascii").split()
    return int(words[words.index("VmRSS:") + 1]) * 1024


def answered(gateway, data):
    """Return what is answered until the connection ends or is silent for a moment."""
    with opened(gateway) as sock:
        sock.settimeout(0.3)
        told = b""
        with contextlib.suppress(OSError):
            sock.sendall(data)
            while part := sock.recv(65_536):
                told += part
        return told


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS at a place without
        b"GET /kv/a\r\n\r\n",
        b"GET /kv/a HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET  /kv/a HTTP/1.1\r\n\r\n",
        b"GET /kv/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G\x00T /kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /kv/a HTTP/1.1\r\nHost: localhost\r\n: none\r\n\r\n",
        b"GET /kv/a HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",  # Redis
    ],
)
def test_junk_is_refused_and_does_no_harm(web, kv, data):
    told = answered(web.gateway, data)
    assert not told or told.split(b" ")[1] in (b"400", b"403"), told
    assert kv.count() == 0
    assert web.get("/livez").status == 200
    assert "Traceback" not in web.gateway.log.read_text()


def test_junk_by_chance_is_refused_and_does_no_harm(web):
    chance = random.Random(7)
    for _ in range(60):
        data = bytearray(GOOD * 2)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        told = answered(web.gateway, bytes(data))
        assert b" 500 " not in told.partition(b"\r\n")[0]
    assert web.get("/livez").status == 200
    assert "Traceback" not in web.gateway.log.read_text()


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_end_is_cut_off(web, begin):
    before = memory(web.gateway)
    with opened(web.gateway) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(begin)
        sent = 0
        part = b"X: y\r\n" * 10_000 if begin.endswith(b"\n") else b"x" * 60_000
        while sent < 64 * MIB:
            sock.sendall(part)
            sent += len(part)
        raise AssertionError("it took all")
    assert memory(web.gateway) < before + 16 * MIB
    assert web.get("/livez").status == 200


@pytest.mark.parametrize("part", [b"x-a: " + b"y" * 1_000 + b"\r\n", b"y" * 10_000])
def test_trailers_without_end_are_cut_off(web, part):
    before = memory(web.gateway)
    with opened(web.gateway) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-b: ")
        for _ in range(64 * MIB // len(part)):
            sock.sendall(part)
        raise AssertionError("it took all")
    assert memory(web.gateway) < before + 16 * MIB
    assert web.get("/livez").status == 200


def test_trailers_and_small_chunks_are_taken(web, kv):
    chunks = b"1;why=because\r\nx\r\n" * 20_000
    body = chunks + b"0\r\nX-Sum: 7\r\n\r\n"
    assert web.ask("PUT", "/kv/a", body, Transfer_Encoding="chunked").status == 200
    assert kv.get("a") == b"x" * 20_000


def test_a_request_behind_a_large_body_in_one_segment_is_no_long_head(web, kv):
    with opened(web.gateway) as sock:
        put = b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
        sock.sendall(put + GOOD[:-10])
        sock.sendall(GOOD[-10:])
        told = b""
        while told.count(b"HTTP/1.1") < 2 or len(told) < 100_000:
            told += sock.recv(65_536)
        assert told.startswith(b"HTTP/1.1 200 OK")
        assert told.endswith(b"x" * 1_000)


def test_a_head_that_is_too_long_does_not_take_the_answer_before_it(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    daemon.signal(19)
    with opened(gateway) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
        time.sleep(0.2)
        sock.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(20):
            sock.sendall(b"x" * 10_000)
        daemon.signal(18)
        assert sock.recv(1_000).startswith(b"HTTP/1.1 200 OK")


def test_a_head_within_the_limit_is_taken(web):
    assert web.get("/livez", X="x" * (HTTP_HEAD_BYTES_MAX - 1_000)).status == 200


def test_requests_in_a_row_on_one_connection_are_answered_in_order(web, kv):
    kv.set("a", "1")
    with opened(web.gateway) as sock:
        sock.sendall(GOOD * 200 + b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        told = b""
        while part := sock.recv(65_536):
            told += part
    assert told.count(b"HTTP/1.1 200 OK") == 201
    assert told.endswith(b"the gateway answers\n")


def test_a_request_byte_by_byte(web, kv):
    kv.set("a", "1")
    with opened(web.gateway) as sock:
        for at in range(len(GOOD)):
            sock.sendall(GOOD[at : at + 1])
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_who_is_silent_is_cut_off_and_others_are_served(web):
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(opened(web.gateway)) for _ in range(300)]
        for number, sock in enumerate(silent):
            sock.sendall(GOOD[: number % len(GOOD)])
        assert web.get("/livez").status == 200
        limit = time.monotonic() + 40
        for sock in silent:
            sock.settimeout(max(1, limit - time.monotonic()))
            assert sock.recv(1_000) == b""
    assert web.get("/livez").status == 200


@pytest.mark.parametrize("count", [16, pytest.param(100, marks=pytest.mark.long)])
def test_large_bodies_are_bounded_together_until_they_are_answered(daemon, make_gateway, count):
    gateway = make_gateway("http", daemon.commands)
    before = memory(gateway)
    daemon.signal(19)
    body = b"x" * VALUE_BYTES_MAX
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(Web(gateway).ask, "PUT", "/kv/a", body) for _ in range(count)]
        eventually(lambda: sum(each.done() for each in asked) >= count - HTTP_BODIES_BYTES_MAX // len(body) // 3)
        print(f"{count} bodies of 16 MiB: {(memory(gateway) - before) / MIB:.0f} MiB")
        assert memory(gateway) < before + HTTP_BODIES_BYTES_MAX + 128 * MIB
        daemon.signal(18)
    codes = {each.result().status for each in asked}
    assert 429 in codes <= {200, 429, 503}
    eventually(lambda: Web(gateway).ask("PUT", "/kv/a", body).status == 200)


def test_a_small_array_that_asks_for_much_is_bounded(web, kv):
    kv.set("a", b"x" * 4_000_000)
    before = memory(web.gateway)
    told = web.ask("POST", "/v1/commands", [{"command": "GET", "key": "a"}] * 200).json
    assert len(told) == 200
    assert told[0]["result"] == "x" * 4_000_000
    assert told[-1]["error"]["code"] == "TOO_LARGE"
    assert memory(web.gateway) < before + 500 * MIB


def test_what_is_over_is_not_held_by_one_that_waits(web):
    now = web.result(command="INFO", section="server")["server"]["revision"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(web.command, command="CHANGES", since=now, prefix="none", wait_ms=8_000)
        for _ in range(3):
            web.ask("PUT", "/kv/a", b"x" * 8_000_000)
        before = memory(web.gateway)
        for _ in range(30):
            assert web.ask("PUT", "/kv/a", b"x" * 8_000_000).status == 200
        assert memory(web.gateway) < before + 100 * MIB
        assert not waiting.done()
        web.ask("PUT", "/kv/none", b"x")
        assert waiting.result().status == 200


MANY = pytest.param(200, 20_000, 500, marks=pytest.mark.long)


@pytest.mark.parametrize(("count", "changes", "size"), [(20, 20_000, 500), (4, 300, 1_000_000), MANY])
def test_watchers_that_do_not_read_cost_bounded_memory(daemon, make_gateway, count, changes, size):
    gateway = make_gateway("http", daemon.commands)
    with contextlib.ExitStack() as stack, daemon.client() as kv:
        kv.set("k", "x")
        for number in range(count):
            sock = stack.enter_context(opened(gateway))
            sock.sendall(b"GET /v1/watch?since=0 HTTP/1.1\r\nHost: localhost\r\n" + (UPGRADE, b"\r\n")[number % 2])
            assert sock.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 101")
        before = memory(gateway)
        for _ in range(20):
            with kv.pipeline() as pipeline:
                for _ in range(changes // 20):
                    pipeline.set("k", b"x" * size)
        assert Web(gateway).get("/livez").status == 200
        grown = memory(gateway) - before
        print(f"{count} watchers that do not read, {changes} changes of {size} bytes: {grown / MIB:.0f} MiB more")
        assert grown < 40 * MIB + count * 64 * MIB


@pytest.mark.long
def test_watchers_beyond_the_bound_are_told(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    with contextlib.ExitStack() as stack:
        for _ in range(HTTP_WATCHERS_MAX):
            stack.enter_context(connect(f"ws://{gateway.address}/v1/watch"))
        answer = Web(gateway).get("/v1/watch")
        assert (answer.status, answer.json["code"]) == (429, "BUSY")
        assert Web(gateway).get("/livez").status == 200
