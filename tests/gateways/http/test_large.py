"""Large values in JSON, with watchers: each change is encoded once, memory is bounded, and readers get it."""

import asyncio
import base64
import contextlib
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.running import eventually
from support.web import Events, Web
from websockets.sync.client import connect

from kvd.commands.model import Change
from kvd.gateways.http import change_cache
from kvd.gateways.http.change_cache import ChangeCache, EncodedChange
from kvd.gateways.http.encoding import encode_reply
from kvd.gateways.http.feeds import change_record
from kvd.gateways.http.slow_clients import SlowClients
from kvd.limits import HTTP_CHANGE_CACHE_BYTES_MAX, HTTP_LARGE_BYTES, HTTP_UNSENT_BYTES_MAX, MIB, VALUE_BYTES_MAX

UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BELLS = b"\7" * VALUE_BYTES_MAX
IN_BASE64 = {"base64": base64.b64encode(BELLS).decode()}


def forget_peak(gateway):
    Path(f"/proc/{gateway.process.pid}/clear_refs").write_text("5", encoding="ascii")


def peak(gateway):
    """Return the most memory that a gateway has had since `forget_peak`."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def test_a_large_value_of_control_characters_reaches_all_watchers_in_bounded_memory(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    url = f"ws://{gateway.address}"
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        sockets = [stack.enter_context(connect(f"{url}/v1/watch", max_size=None)) for _ in range(5)]
        older = stack.enter_context(connect(f"{url}/subscribe", max_size=None))
        events = stack.enter_context(Events(gateway))
        forget_peak(gateway)
        received = [pool.submit(each.recv, 60) for each in (*sockets, older)]
        event = pool.submit(events.one)
        assert Web(gateway).ask("PUT", "/kv/w", BELLS).status == 200
        *texts, oldest = [json.loads(each.result()) for each in received]
        assert [each["value"] for each in texts] == [IN_BASE64] * 5
        assert (oldest["Value"], event.result()["data"]["value"]) == (IN_BASE64, IN_BASE64)
        print(f"7 watchers of 16 MiB: {peak(gateway) / MIB:.0f} MiB")
        assert peak(gateway) < 320 * MIB


def test_a_watcher_that_reads_slowly_gets_a_large_value_and_what_follows(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    with Events(gateway) as events, daemon.client() as kv:
        events.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        kv.set("w", BELLS)
        kv.set("w", "small")
        eventually(lambda: Web(gateway).get("/livez").status == 200)
        assert [event["data"]["value"] for event in events.take(2)] == [IN_BASE64, "small"]


@pytest.mark.long
@pytest.mark.parametrize("upgrade", [b"", UPGRADE])
def test_a_watcher_that_reads_for_a_minute_is_not_ended(daemon, make_gateway, upgrade):
    """The number of unread bytes is the same at each check: the next piece."""
    gateway = make_gateway("http", daemon.commands)
    with socket.socket() as sock, daemon.client() as kv:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
        sock.connect((gateway.host, gateway.port))
        sock.settimeout(60)
        sock.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % upgrade)
        assert sock.recv(1_000)
        kv.set("w", BELLS)
        size = 0
        while size < len(IN_BASE64["base64"]):
            received = sock.recv(40_000)
            assert received, f"ended after {size} bytes"
            size += len(received)
            time.sleep(0.1)


def test_texts_that_are_large_stay_texts_and_what_is_none_is_base64(web, kv):
    text = "Grüße, 世界\n" * 200_000
    with connect(f"ws://{web.gateway.address}/v1/watch", max_size=None) as watcher:
        kv.set("a", text)
        assert json.loads(watcher.recv(20))["value"] == text
        kv.set("a", BELLS)
        assert json.loads(watcher.recv(20))["value"] == IN_BASE64
    assert web.result(command="GET", key="a") == IN_BASE64
    assert web.get("/kv?values=1").json["items"][0]["value"] == IN_BASE64
    assert web.ask("POST", "/get", {"Key": "a"}).json["Value"] == IN_BASE64
    assert web.get("/getall").json == {"a": IN_BASE64}
    assert web.get("/get?key=a").json["val"] == IN_BASE64
    assert web.ask("POST", "/rm", {"key": "a"}).json["ejected_val"] == IN_BASE64


def change(revision, size=HTTP_LARGE_BYTES):
    return Change("SET", revision, b"key", b"x" * size, 0, None, 1)


def test_a_large_change_is_encoded_once_in_a_thread(monkeypatch):
    threads = []
    make_pieces = change_cache.encode_in_pieces.__globals__["make_pieces"]
    monkeypatch.setitem(
        change_cache.encode_in_pieces.__globals__,
        "make_pieces",
        lambda content: threads.append(threading.current_thread()) or make_pieces(content),
    )

    async def main():
        cache = ChangeCache()
        first, second = await asyncio.gather(*[cache.encode(change_record, "history", change(7)) for _ in range(2)])
        assert first is second
        assert await cache.encode(change_record, "history", change(7)) is first
        assert json.loads(b"".join(first.pieces))["revision"] == 7
        for history, revision in (("other", 7), ("history", 8)):
            assert await cache.encode(change_record, history, change(revision)) is not first
        assert json.loads(await encode_reply([b"x" * HTTP_LARGE_BYTES])) == ["x" * HTTP_LARGE_BYTES]

    asyncio.run(main())
    assert len(threads) == 4
    assert threading.main_thread() not in threads


def test_records_that_nobody_is_sent_are_bounded():
    async def main():
        cache = ChangeCache()
        for revision in range(12):
            await cache.encode(change_record, None, change(revision, VALUE_BYTES_MAX // 2))
        kept = [task.result().size for task in cache._encodings.values()]
        assert sum(kept) <= HTTP_CHANGE_CACHE_BYTES_MAX
        assert len(kept) >= 4

    asyncio.run(main())


def test_those_who_share_a_record_account_for_a_part_of_it():
    shared = EncodedChange([b"x" * (HTTP_UNSENT_BYTES_MAX // 2)])
    connections = [Holder(get_write_buffer_size=lambda: 100) for _ in range(20)]
    with contextlib.ExitStack() as stack:
        for each in connections:
            assert stack.enter_context(shared.hold(each)) is shared.pieces
        shares = {each: each.record.share for each in map(Hashed, connections)}
        assert sum(shares.values()) <= shared.size
        assert SlowClients().check([*shares], 0, shares) == []
        alone = Hashed(SimpleNamespace(get_write_buffer_size=lambda: 100))
        shares[alone] = HTTP_UNSENT_BYTES_MAX * 3 // 4
        assert SlowClients().check([*shares], 0, shares) == [alone]
    assert {each.record for each in connections} == {None}
    assert shared.holders == 0


class Holder(SimpleNamespace):
    """A connection that accounts for a change."""

    record = None

    def set_record(self, record):
        self.record = record


class Hashed:
    """A transport and its connection in one."""

    def __init__(self, inner):
        self.record = getattr(inner, "record", None)
        self.get_write_buffer_size = inner.get_write_buffer_size


@pytest.mark.parametrize("size", [1, HTTP_LARGE_BYTES - 1, HTTP_LARGE_BYTES, 3 * HTTP_LARGE_BYTES])
def test_changes_of_all_sizes_come_in_order(web, kv, size):
    with Events(web.gateway, "prefix=k") as events, connect(f"ws://{web.gateway.address}/v1/watch") as watcher:
        watcher.protocol.max_message_size = None
        values = [str(number) * (size if number % 2 else 1) for number in range(8)]
        with kv.pipeline() as pipeline:
            for value in values:
                pipeline.set("k", value)
        assert [event["data"]["value"] for event in events.take(8)] == values
        assert [json.loads(watcher.recv(20))["value"] for _ in range(8)] == values
