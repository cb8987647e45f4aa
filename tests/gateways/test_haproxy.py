"""conf/haproxy.cfg: two gateways behind haproxy are restarted one after the other, and no request fails.

The short form has a few clients for as long as the restarts take; the long form more of them for 20 s, wrk beside
them, and prints the rate as a part of a single gateway's.
"""

import http.client
import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support.running import eventually

CONF = Path(__file__).resolve().parents[2] / "conf/haproxy.cfg"
DRAIN_S = 2  # haproxy sees it after 1 s

pytestmark = [
    pytest.mark.haproxy,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed: apt-get install haproxy"),
]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Balancer:
    """haproxy as the file has it, but for the ports."""

    def __init__(self, directory, ports):
        self.port = free_port()
        text = CONF.read_text()
        for told, ours in zip((7480, 7481, 7482), (self.port, *ports), strict=True):
            assert f"127.0.0.1:{told}" in text
            text = text.replace(f"127.0.0.1:{told}", f"127.0.0.1:{ours}")
        self.admin = directory / "admin.sock"
        self.file = directory / "haproxy.cfg"
        self.file.write_text(text.replace("global\n", f"global\n    stats socket {self.admin}\n", 1))
        self.process = subprocess.Popen(["haproxy", "-db", "-q", "-f", self.file])

    def states(self):
        """Return how haproxy sees the gateways that are to be ready."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.admin))
            sock.sendall(b"show stat\n")
            told = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        head, *rows = [line.split(",") for line in told.removeprefix("# ").splitlines() if line]
        facts = [dict(zip(head, row, strict=False)) for row in rows]
        return {fact["svname"]: fact["status"] for fact in facts if fact["pxname"] == "ready"}

    def has_ready(self, count):
        states = self.states()
        return sum(states[name].startswith("UP") for name in ("one", "two")) == count  # also "UP 1/2", on its way down

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture
def pair(make_gateway, daemon):
    """Two gateways of a daemon, at ports of their own."""
    made = [make_gateway("http", daemon.commands, "--drain", str(DRAIN_S)) for _ in range(2)]
    yield made
    for gateway in made:
        gateway.kill()  # nobody is to wait for --drain at the end of a test


@pytest.fixture
def balancer(pair, tmp_path):
    made = Balancer(tmp_path, [gateway.port for gateway in pair])
    try:
        eventually(lambda: made.admin.exists() and made.has_ready(2))
        yield made
    finally:
        made.stop()


class Clients:
    """Threads that write and read back, each its own key, over connections that are new each time or are kept."""

    def __init__(self, port, count):
        self.port = port
        self.is_over = False
        self.requests = 0
        self.failures = []
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.is_over = True
        for thread in self.threads:
            thread.join(60)

    def run(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        turn = 0
        while not self.is_over:
            turn += 1
            try:
                self.turn(connection, f"/kv/client:{number}", f"{turn}".encode())
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(f"turn {turn} of client {number}: {error!r}")
                connection.close()
            if number % 2:
                connection.close()
        connection.close()

    def turn(self, connection, path, value):
        """Write, and read what was written: a write that comes twice, or late, shows too."""
        status, told = self.request(connection, "PUT", path, value)
        assert (status, told) == (200, b"OK"), (status, told)
        status, told = self.request(connection, "GET", path)
        assert (status, told) == (200, value), (status, told)

    def request(self, connection, method, path, body=None):
        if connection.sock is None:
            connection.connect()  # else http.client would not show whether it had to
        connection.request(method, path, body)
        with connection.getresponse() as response:
            self.requests += 1
            return response.status, response.read()


def restart(gateway, balancer):
    """Restart a gateway as an operator does: it ends when haproxy has seen that it will, and then comes again."""
    assert gateway.stop() == 0
    gateway.start()
    eventually(lambda: balancer.has_ready(2))


def test_the_file_is_one_that_haproxy_takes():
    done = subprocess.run(["haproxy", "-c", "-f", CONF], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("warning|alert", done.stdout + done.stderr, re.IGNORECASE) is None


def test_no_request_fails_while_both_gateways_are_restarted(pair, balancer):
    with Clients(balancer.port, 4) as clients:
        for gateway in pair:
            before = clients.requests
            restart(gateway, balancer)
            assert clients.requests > before
    print(f"{clients.requests} requests, {len(clients.failures)} failed")
    assert clients.failures == []


def test_a_gateway_that_is_killed_takes_only_what_it_had_under_way(pair, balancer):
    port = balancer.port
    with Clients(port, 0) as clients:
        pair[0].kill()
        for number in range(200):  # each a connection of its own; some are sent there before haproxy has seen it
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            clients.turn(connection, f"/kv/n:{number}", b"x")
            connection.close()


def test_when_none_is_ready_the_gateway_itself_says_why_and_is_asked_again_by_itself(pair, balancer, daemon):
    daemon.stop()
    eventually(lambda: balancer.has_ready(0))
    connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=60)
    clients = Clients(balancer.port, 0)
    status, told = clients.request(connection, "GET", "/kv/city")
    assert (status, json.loads(told)["code"]) == (503, "UNREACHABLE")
    daemon.start()
    eventually(lambda: balancer.has_ready(2))
    clients.turn(connection, "/kv/city", b"Ahmedabad")


def test_changes_come_through_as_they_happen(balancer, daemon):
    connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=60)
    connection.request("GET", "/v1/watch?prefix=user:")
    response = connection.getresponse()
    assert response.status == 200
    assert response.readline().startswith(b": from revision")
    with daemon.client() as kv:
        kv.set("user:1", "Ada")
    lines = iter(response.readline, b"")
    assert b"event: set\n" in [next(lines) for _ in range(3)]
    connection.close()


class Mute(http.server.BaseHTTPRequestHandler):
    """A gateway that is ready, takes requests, and dies of each before it answers."""

    def do_GET(self):
        if self.path == "/readyz":
            self.send_response(200)
            self.end_headers()
            return
        self.server.taken.append(self.command)

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append(self.command)

    do_POST = do_PUT  # noqa: N815  # the name is the library's

    def log_message(self, *what):
        """Say nothing."""


def test_a_write_that_may_have_been_executed_is_not_sent_again_and_a_read_is(tmp_path):
    mutes = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mute) for _ in range(2)]
    taken = mutes[0].taken = mutes[1].taken = []
    for mute in mutes:
        threading.Thread(target=mute.serve_forever, daemon=True).start()
    balancer = Balancer(tmp_path, [mute.server_port for mute in mutes])
    try:
        eventually(lambda: balancer.admin.exists() and balancer.has_ready(2))
        for method, times in (("PUT", 1), ("POST", 1), ("GET", 4)):
            body = "" if method == "GET" else "x"
            with socket.create_connection(("127.0.0.1", balancer.port), timeout=60) as sock:
                # In one piece, so that haproxy has all of it and could send it again.
                head = f"{method} /kv/city HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
                sock.sendall((head + body).encode())
                assert sock.recv(65536).startswith(b"HTTP/1.1 502 ")
            assert taken == [method] * times
            taken.clear()
    finally:
        balancer.stop()
        for mute in mutes:
            mute.shutdown()
            mute.server_close()


# The long form


def wrk(port, seconds, connections):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}/kv/city"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def rate(said):
    return float(re.search(r"Requests/sec: +([0-9.]+)", said)[1])


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_no_request_fails_for_20_seconds_of_load_with_restarts(pair, balancer, daemon):
    with daemon.client() as kv:
        kv.set("city", "Ahmedabad")
    for name, port in (("one gateway", pair[0].port), ("haproxy", balancer.port), ("one gateway", pair[0].port)):
        print(f"{name} alone, quiet: {rate(wrk(port, 3, 16).communicate()[0]):,.0f} requests a second")
    with Clients(balancer.port, 6) as clients:
        load, until = wrk(balancer.port, 20, 16), time.monotonic() + 20
        for gateway in pair:
            restart(gateway, balancer)
        said = load.communicate()[0]
        assert time.monotonic() >= until
    print(said)
    print(f"beside wrk: {clients.requests} requests, {len(clients.failures)} failed")
    assert clients.failures == []
    assert "Non-2xx" not in said
    assert "Socket errors" not in said
