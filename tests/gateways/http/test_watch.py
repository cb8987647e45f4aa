"""Changes over HTTP, as events and over WebSockets: complete, in order, and resumable."""

import contextlib
import json
import socket
import sys
import threading
import time

import pytest
from support.running import eventually
from support.web import Events, Web
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from kvd.gateways.common.upstream import OTHER_DESCRIPTORS, WATCH_DESCRIPTORS


def revisions(events):
    return [int(event["id"]) for event in events]


def test_events_tell_each_change(web, kv):
    with Events(web.gateway, "prefix=a&prefix=b%FF") as events:
        assert events.response.status == 200
        assert events.response.headers["Content-Type"].startswith("text/event-stream")
        assert events.response.headers["Kvd-Revision"] == str(web.now)
        kv.set("a", "1", ttl=1000)
        kv.set("c", "not reported")
        kv.set(b"b\xff", b"\xff")
        kv.clear("a")
        first, second, third = events.take(3)
    assert (first["id"], first["event"]) == (str(web.now + 1), "set")
    assert first["data"].pop("expires") > first["data"].pop("time") > 0
    assert first["data"] == {"revision": web.now + 1, "kind": "set", "key": "a", "value": "1"}
    assert (second["data"]["key"], second["data"]["value"]) == ({"base64": "Yv8="}, {"base64": "/w=="})
    assert (third["event"], third["data"]["kind"], "value" in third["data"]) == ("clear", "clear", False)


def test_a_key_that_expires_is_told(web, kv):
    with Events(web.gateway) as events:
        kv.set("a", "1", ttl=0.05)
        assert [event["event"] for event in events.take(2)] == ["set", "expired"]


def test_last_event_id_resumes_and_so_does_since(web, kv):
    kv.multiset({f"k:{number:03}": "x" for number in range(100)})
    with Events(web.gateway, f"since={web.now}") as events:
        assert revisions(events.take(40)) == list(range(web.now + 1, web.now + 41))
    with Events(web.gateway, Last_Event_ID=str(web.now + 40)) as events:
        assert revisions(events.take(60)) == list(range(web.now + 41, web.now + 101))


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("since=x", {}, 400, "BAD_ARGUMENT"),
        ("since=9223372036854775808", {}, 400, "BAD_ARGUMENT"),
        ("since=1&since=2", {}, 400, "BAD_ARGUMENT"),
        ("sinse=1", {}, 400, "BAD_ARGUMENT"),
        ("", {"Last_Event_ID": "x"}, 400, "BAD_ARGUMENT"),
        ("prefix=" + "k" * 5_000, {}, 413, "TOO_LARGE"),
        ("since=999999999", {}, 410, "HISTORY_CHANGED"),
        ("history=none", {}, 410, "HISTORY_CHANGED"),
    ],
)
def test_what_cannot_be_told_is_refused_before_the_first(web, query, headers, status, code):
    answer = web.get(f"/v1/watch?{query}", **headers)
    assert (answer.status, answer.json["code"]) == (status, code), answer
    if "Last_Event_ID" not in headers:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{web.gateway.address}/v1/watch?{query}")
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["code"] == code


def test_changes_that_are_not_kept_any_more_are_told_as_gone(web, kv):
    kv.set("a", "1")
    kv.compact(web.now + 1)
    assert web.get("/v1/watch?since=0").status == 410
    assert web.get("/v1/watch?since=0").json["code"] == "COMPACTED"


def test_a_websocket_tells_the_same(web, kv):
    history = kv.info("server")["server"]["history"]
    with connect(f"ws://{web.gateway.address}/v1/watch?prefix=a&since={web.now}&history={history}") as socket:
        assert socket.response.headers["Kvd-History"] == history
        kv.set("a", "1")
        kv.set("b", "not reported")
        kv.clear("a")
        first, second = json.loads(socket.recv(20)), json.loads(socket.recv(20))
        assert (first["revision"], first["kind"], first["value"]) == (web.now + 1, "set", "1")
        assert (second["revision"], second["kind"]) == (web.now + 3, "clear")


def test_a_client_that_has_gone_leaves_no_watch_behind(web, kv):
    def watchers():
        return kv.info("traffic")["traffic"]["watchers"]

    for _ in range(3):
        with Events(web.gateway) as events, connect(f"ws://{web.gateway.address}/v1/watch"):
            kv.set("a", "1")
            events.take(1)
            assert watchers() == 2
    eventually(lambda: not watchers())


def test_an_end_of_the_gateway_ends_watches_well(daemon, kv, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    daemon_kv = daemon.client()
    with Events(gateway) as events, connect(f"ws://{gateway.address}/v1/watch") as socket, daemon_kv:
        daemon_kv.set("a", "1")
        events.take(1)
        socket.recv(20)
        assert gateway.stop() == 0
        assert events.one() is None
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(20)
        assert closed.value.rcvd.code == 1001


class Watcher(threading.Thread):
    """Watches over a WebSocket, and resumes whenever it is closed."""

    def __init__(self, gateway, last):
        super().__init__(daemon=True)
        self.gateway, self.last = gateway, last
        self.seen, self.connections = [], 0
        self.until = None

    def run(self):
        since = 0
        while since != self.until:
            try:
                with connect(f"ws://{self.gateway.address}/v1/watch?since={since}", open_timeout=5) as socket:
                    self.connections += 1
                    while since != self.until:
                        change = json.loads(socket.recv(0.5))
                        since = change["revision"]
                        self.seen.append((since, change["key"], change.get("value")))
            except (OSError, TimeoutError, WebSocketException):
                time.sleep(0.05)


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.long)])
def test_many_watchers_miss_nothing_over_restarts_of_both(daemon, make_gateway, count):
    gateway = make_gateway("http", daemon.commands)
    with daemon.client() as kv:
        kv.set("first", "0")
        watchers = [Watcher(gateway, 0) for _ in range(count)]
        for watcher in watchers:
            watcher.start()
        number = 0
        for step in range(6):
            for _ in range(100):
                number += 1
                kv.once().set(f"k:{number % 17}", str(number))
            if step == 1:
                daemon.kill()
                daemon.start()
            if step == 3:
                gateway.kill()
                gateway.start()
            if step == 4:
                gateway.stop()
                gateway.start()
        journal = [(each.revision, each.key.decode(), each.value.decode()) for each in kv.changes(0, limit=10_000)]
        assert len(journal) == 601
        for watcher in watchers:
            watcher.until = journal[-1][0]
        for watcher in watchers:
            watcher.join(60)
            assert watcher.seen == journal
        assert min(watcher.connections for watcher in watchers) >= 2


def test_a_slow_reader_is_waited_for_and_gets_all(web, kv):
    with Events(web.gateway, f"since={web.now}") as events:
        for _ in range(40):
            with kv.pipeline() as pipeline:
                for number in range(500):
                    pipeline.set("k", b"%0200d" % number)
        assert revisions(events.take(20_000)) == list(range(web.now + 1, web.now + 20_001))


def test_a_daemon_that_goes_and_comes_is_not_noticed(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    with Events(gateway, "since=0") as events, daemon.client() as kv:
        kv.set("a", "1")
        assert revisions(events.take(1)) == [1]
        daemon.kill()
        daemon.start()
        kv.set("a", "2")
        assert revisions(events.take(1)) == [2]
        web = Web(gateway)
        daemon.stop()
        assert web.get("/v1/watch").status == 503


def test_a_watch_of_what_rests_is_told_from_where_to_resume(daemon, make_gateway):
    quick = "from kvd.gateways.http import feeds; feeds.WATCH_HEARTBEAT_MS = 100; from kvd.cli import main; main()"
    gateway = make_gateway("http", daemon.commands, program=(sys.executable, "-c", quick))
    path = "/v1/watch?prefix=quiet"
    with Events(gateway, "prefix=quiet") as events, connect(f"ws://{gateway.address}{path}") as wire:
        with daemon.client() as kv:
            for number in range(3):
                kv.set("loud", str(number))
            kv.compact(3)
        while (sign := json.loads(wire.recv(20))) != {"revision": 3}:
            assert set(sign) == {"revision"}
        lines = []
        while b"id: 3\n" not in lines:
            lines.append(events.response.readline())
    with Events(gateway, "prefix=quiet", Last_Event_ID="3") as events:
        assert events.response.status == 200


def test_head_of_a_watch_is_not_allowed(web):
    answer = web.ask("HEAD", "/v1/watch")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_watchers_that_come_at_once_are_counted(daemon, make_gateway):
    limit = OTHER_DESCRIPTORS + 5 * WATCH_DESCRIPTORS
    gateway = make_gateway("http", daemon.commands, before=("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"))
    asking = b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        address = (gateway.host, gateway.port)
        socks = [stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(30)]
        for sock in socks:
            sock.sendall(asking)
        codes = sorted(sock.recv(12)[-3:] for sock in socks)
    assert codes == [b"200"] * 5 + [b"429"] * 25
