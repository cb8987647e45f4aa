"""Clients that mean no good, or know no better: junk, heads without end, silence, bodies that do not come."""

import contextlib
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.running import eventually
from support.web import Web
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from kvd.gateways.http.slow_clients import SlowClients
from kvd.limits import (
    HTTP_BODIES_BYTES_MAX,
    HTTP_HEADER_BYTES_MAX,
    HTTP_UNSENT_BYTES_MAX,
    HTTP_WATCHERS_MAX,
    MIB,
    VALUE_BYTES_MAX,
)

GOOD = b"GET /kv/a HTTP/1.1\r\nHost: localhost\r\nX-Y: z\r\n\r\n"


UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def open_socket(gateway):
    return socket.create_connection((gateway.host, gateway.port), timeout=60)


def memory(gateway):
    words = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="ascii").split()
    return int(words[words.index("VmRSS:") + 1]) * 1024


def exchange(gateway, data):
    """Send; return everything received until the connection ends or is silent for a moment."""
    with open_socket(gateway) as sock:
        sock.settimeout(0.3)
        received = b""
        with contextlib.suppress(OSError):
            sock.sendall(data)
            while part := sock.recv(65_536):
                received += part
        return received


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
    received = exchange(web.gateway, data)
    assert not received or received.split(b" ")[1] in (b"400", b"403"), received
    assert kv.count() == 0
    assert web.get("/livez").status == 200
    assert "Traceback" not in web.gateway.log.read_text()


def test_junk_by_chance_is_refused_and_does_no_harm(web):
    chance = random.Random(7)
    for _ in range(60):
        data = bytearray(GOOD * 2)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        received = exchange(web.gateway, bytes(data))
        assert b" 500 " not in received.partition(b"\r\n")[0]
    assert web.get("/livez").status == 200
    assert "Traceback" not in web.gateway.log.read_text()


OFFERS = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"


@pytest.mark.parametrize("coming", [f"Content-Length: 44\r\n{OFFERS}", f"{OFFERS}Content-Length: 44\r\n"])
def test_an_offer_of_another_protocol_is_passed_over_and_the_body_is_the_body(web, kv, coming):
    kv.set("victim", "x")
    body = b"DELETE /kv/victim HTTP/1.1\r\nHost: localhost\r\n\r\n"[:44]
    with open_socket(web.gateway) as sock:
        sock.sendall(f"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\n{coming}\r\n".encode())
        time.sleep(0.1)
        sock.sendall(body)
        received = b""
        while not received.endswith(b"\r\n\r\nOK"):
            received += sock.recv(1_000)
        sock.sendall(GOOD)
        while not received.endswith(body):
            received += sock.recv(1_000)
        assert received.count(b"HTTP/1.1 200 OK") == 2
    assert kv.multiget("a", "victim") == [body, b"x"]


@pytest.mark.parametrize("cut", range(40, 130, 5))
def test_an_offer_that_comes_in_parts_is_taken_whole_or_refused(web, kv, cut):
    kv.set("victim", "x")
    request = f"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n{OFFERS}\r\n".encode()
    with open_socket(web.gateway) as sock:
        sock.sendall(request[:cut])
        time.sleep(0.02)
        sock.sendall(request[cut:])
        time.sleep(0.02)
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"yDELETE /kv/victim HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            received = b""
            while part := sock.recv(1_000):
                received += part
            assert received[9:12] in (b"200", b"400")
            assert (received[9:12] == b"200") == (kv.get("a") == b"y")
            assert (kv.get("victim") is None) == (received.count(b"HTTP/1.1 200") == 2)


def test_curl_offers_http_2_and_is_answered(web, kv):
    assert web.curl("--http2 -X PUT --data-binary hello http://HOST/kv/a").stdout == "OK"
    assert kv.get("a") == b"hello"


def test_clients_that_leave_in_the_middle_leave_no_traceback(web):
    for _ in range(100):
        with open_socket(web.gateway) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(GOOD * 8)
    assert web.get("/livez").status == 200
    assert "Traceback" not in web.gateway.log.read_text()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/watch", {"Last_Event_ID": "9" * 5_000}, 400),
        ("/metrics", {"Accept": "application/openmetrics-text; version=abc"}, 200),
        ("/kv?limit=" + "9" * 5_000, {}, 400),
        ("/kv/a?ttl=" + "9" * 5_000, {}, 404),
    ],
)
def test_numbers_that_are_none_are_no_defect(web, path, headers, status):
    assert web.get(path, **headers).status == status
    assert "Traceback" not in web.gateway.log.read_text()


def test_a_websocket_to_nowhere_is_told_so(web):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{web.gateway.address}/none")
    assert refused.value.response.status_code == 404
    assert "Traceback" not in web.gateway.log.read_text()


@pytest.mark.parametrize(
    "command", [{"command": "MULTIGET", "keys": [""] * 2_000_000}, {"command": "GET", "k" * 4_000_000: 1}]
)
def test_what_is_refused_anyway_is_not_worked_on(web, command):
    answer = web.ask("POST", "/v1/commands", command)
    assert (answer.status, answer.json["code"]) in ((413, "TOO_LARGE"), (400, "BAD_ARGUMENT"))


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_end_is_cut_off(web, begin):
    before = memory(web.gateway)
    with open_socket(web.gateway) as sock, contextlib.suppress(ConnectionError):
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
    with open_socket(web.gateway) as sock, contextlib.suppress(ConnectionError):
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
    with open_socket(web.gateway) as sock:
        put = b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
        sock.sendall(put + GOOD[:-10])
        sock.sendall(GOOD[-10:])
        received = b""
        while received.count(b"HTTP/1.1") < 2 or len(received) < 100_000:
            received += sock.recv(65_536)
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert received.endswith(b"x" * 1_000)


def test_a_head_that_is_too_long_does_not_take_the_answer_before_it(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    daemon.signal(19)
    with open_socket(gateway) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
        time.sleep(0.2)
        sock.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(20):
            sock.sendall(b"x" * 10_000)
        daemon.signal(18)
        answer = sock.recv(1_000)  # 503 when the gateway had not reached the daemon before
        assert answer.startswith((b"HTTP/1.1 200 OK", b"HTTP/1.1 503 "))


def test_a_head_within_the_limit_is_taken(web):
    assert web.get("/livez", X="x" * (HTTP_HEADER_BYTES_MAX - 1_000)).status == 200


def test_requests_in_a_row_on_one_connection_are_answered_in_order(web, kv):
    kv.set("a", "1")
    with open_socket(web.gateway) as sock:
        sock.sendall(GOOD * 200 + b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while part := sock.recv(65_536):
            received += part
    assert received.count(b"HTTP/1.1 200 OK") == 201
    assert received.endswith(b"the gateway answers\n")


def test_a_request_byte_by_byte(web, kv):
    kv.set("a", "1")
    with open_socket(web.gateway) as sock:
        for at in range(len(GOOD)):
            sock.sendall(GOOD[at : at + 1])
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_who_is_silent_is_cut_off_and_others_are_served(web):
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(open_socket(web.gateway)) for _ in range(300)]
        for number, sock in enumerate(silent):
            sock.sendall(GOOD[: number % len(GOOD)])
        assert web.get("/livez").status == 200
        limit = time.monotonic() + 60
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
    received = web.ask("POST", "/v1/commands", [{"command": "GET", "key": "a"}] * 200).json
    assert len(received) == 200
    assert received[0]["result"] == "x" * 4_000_000
    assert received[-1]["error"]["code"] == "TOO_LARGE"
    assert memory(web.gateway) < before + 500 * MIB


def test_what_is_over_is_not_held_by_one_that_waits(web):
    now = web.result(command="INFO", section="server")["server"]["revision"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(web.command, command="CHANGES", since=now, prefix="none", wait_ms=60_000)
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
            sock = stack.enter_context(open_socket(gateway))
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


class Unread:
    """A transport with this number of unread bytes."""

    def __init__(self, size):
        self.size = size

    def get_write_buffer_size(self):
        return self.size


def test_who_takes_nothing_is_ended_and_who_takes_a_little_is_not():
    debts, deaf, slow, done = SlowClients(), Unread(100), Unread(1_000), Unread(0)
    for second in range(30):
        slow.size -= 1
        assert debts.check([deaf, slow, done], second) == []
    assert debts.check([deaf, slow, done], 30) == [deaf]


def test_who_takes_what_is_written_piece_by_piece_is_not_ended_though_as_much_waits():
    debts, reader, deaf = SlowClients(), Unread(65_536), Unread(65_536)
    for second in range(30):
        assert debts.check([reader, deaf], second, {}, {reader: second, deaf: 5}) == []
    assert debts.check([reader, deaf], 30, {}, {reader: 30, deaf: 5}) == [deaf]


def test_of_too_much_those_who_are_owed_most_are_ended():
    large = [Unread(HTTP_UNSENT_BYTES_MAX // 4 + number) for number in range(6)]
    assert SlowClients().check([Unread(5), *large], 0) == [large[5], large[4], large[3]]


@pytest.mark.long
def test_answers_that_nobody_takes_are_bounded_together(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    with contextlib.ExitStack() as stack, daemon.client() as kv:
        kv.set("a", b"x" * VALUE_BYTES_MAX)
        for _ in range(60):
            stack.enter_context(open_socket(gateway)).sendall(GOOD)
        time.sleep(10)
        print(f"60 answers of 16 MiB that nobody takes: {memory(gateway) / MIB:.0f} MiB")
        assert memory(gateway) < 600 * MIB
        eventually(lambda: memory(gateway) < 200 * MIB, 60)
        assert Web(gateway).get("/livez").status == 200
