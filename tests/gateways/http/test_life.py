"""The HTTP gateway from start to end: a daemon that is away, signs for systemd, an end that drops nobody, metrics."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from support.programs import require
from support.running import eventually, run_kvd
from support.web import Web

from kvd.version import VERSION

ROOT = Path(__file__).resolve().parents[3]


def test_a_daemon_that_is_away_is_told_at_once_and_comes_again(daemon, make_gateway):
    web = Web(make_gateway("http", daemon.commands))
    assert (web.get("/livez").status, web.get("/readyz").status) == (200, 200)
    daemon.stop()
    for path in ("/kv/a", "/kv", "/getall", "/get?key=a", "/v1/watch"):
        answer = web.get(path)
        assert (answer.status, answer.json["code"], answer.json["outcome"]) == (503, "UNREACHABLE", "not executed")
        assert answer.headers["retry-after"] == "1"
    assert web.ask("PUT", "/kv/a", b"x").json["code"] == "UNREACHABLE"
    assert web.get("/livez").status == 200
    ready = web.get("/readyz")
    assert (ready.status, b"does not answer" in ready.body) == (503, True)
    assert b"kvd_up 0.0" in web.get("/metrics").body
    daemon.start()
    eventually(lambda: web.get("/readyz").status == 200)
    assert web.ask("PUT", "/kv/a", b"x").status == 200


def test_a_gateway_starts_before_its_daemon(make_daemon, make_gateway):
    daemon = make_daemon()
    web = Web(make_gateway("http", daemon.commands))
    assert web.get("/readyz").status == 503
    daemon.start()
    eventually(lambda: web.get("/kv").status == 200)


def test_a_daemon_that_hangs_is_told(daemon, make_gateway):
    web = Web(make_gateway("http", daemon.commands))
    assert web.ask("PUT", "/kv/a", b"x").status == 200
    daemon.signal(19)
    try:
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(web.ask, *each) for each in (("GET", "/kv/a"), ("PUT", "/kv/a", b"y"))]
            assert web.get("/readyz").status == 503
            read, write = (each.result() for each in asked)
    finally:
        daemon.signal(18)
    assert (read.status, read.json["code"]) == (503, "NO_REPLY")
    assert (write.status, write.json["code"], write.json["outcome"]) == (503, "OUTCOME_UNKNOWN", "unknown")


def test_metrics_are_those_of_kvd_metrics(web, kv):
    kv.set("a", "1")
    told = web.get("/metrics").body.decode()
    assert "kvd_up 1.0" in told
    assert f'version="{VERSION}"' in told
    assert f"kvd_revision {float(web.now + 1)}" in told


def test_requests_under_way_are_finished_at_the_end(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    assert Web(gateway).ask("GET", "/kv/a").status == 404  # it has a connection
    daemon.signal(19)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(Web(gateway).ask("PUT", "/kv/a", b"x")))
    asking.start()
    time.sleep(0.3)
    gateway.process.terminate()
    time.sleep(0.3)
    daemon.signal(18)
    asking.join(20)
    assert answers[0].status == 200
    assert gateway.process.wait(60) == 0
    with daemon.client() as kv:
        assert kv.get("a") == b"x"


def test_drain_says_not_ready_while_all_goes_on(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands, "--drain", "1.5")
    web = Web(gateway)
    gateway.process.terminate()
    eventually(lambda: web.get("/readyz").status == 503)
    assert b"shutting down" in web.get("/readyz").body
    assert web.get("/kv").status == 200
    assert gateway.process.wait(60) == 0


def test_connections_that_are_kept_are_ended_between_requests(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands)
    kept = http.client.HTTPConnection(gateway.host, gateway.port, timeout=60)
    for _ in range(3):
        kept.request("GET", "/kv")
        assert kept.getresponse().read()
    assert gateway.stop() == 0
    assert kept.sock.recv(1) == b""


def test_systemd_passes_a_socket_and_is_told(daemon, tmp_path):
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    notified.settimeout(60)
    listening = socket.create_server(("127.0.0.1", 0))
    given = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "NOTIFY_SOCKET": str(tmp_path / "notify")}
    given |= {"WATCHDOG_USEC": "300000"}
    command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", sys.executable, "-m", "kvd", "gateway", "http"]
    process = subprocess.Popen(
        [*command, "--url", daemon.commands],
        env={**os.environ, **given},
        cwd=ROOT,
        close_fds=False,
        preexec_fn=lambda: os.dup2(listening.fileno(), 3),  # noqa: PLW1509  # no thread of ours holds a lock here
    )
    try:
        place = "{}:{}".format(*listening.getsockname())
        assert notified.recv(4096).decode() == f"READY=1\nSTATUS=serving http://{place}"
        connection = http.client.HTTPConnection(place, timeout=60)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200
        assert [notified.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    finally:
        process.terminate()
        told = b""
        while told != b"STOPPING=1":
            told = notified.recv(4096)
        assert process.wait(60) == 0


def test_a_unix_socket_is_ones_own_and_goes_with_the_gateway(daemon, make_gateway, tmp_path):
    require("curl")
    path = tmp_path / "http.sock"
    gateway = make_gateway("http", daemon.commands, listen=f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["curl", "-s", "--unix-socket", path, "http://localhost/"], capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == {"up": True}
    second = run_kvd("gateway", "http", "--listen", f"unix:{path}")
    assert (second.returncode, "in use" in second.stderr) == (69, True), second.stderr
    gateway.kill()
    gateway.start()
    assert gateway.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--listen", "localhost"], 78, "ADDRESS:PORT"),
        (["--listen", "example.com:80"], 78, "the address in digits"),
        (["--listen", "127.0.0.1:70000"], 78, "ADDRESS:PORT"),
        (["--listen", "192.0.2.1:0", "--insecure"], 69, "cannot listen on 192.0.2.1:0"),
        (["--url", "nonsense"], 78, "nonsense"),
        (["--key", "/none"], 78, "go together"),
        (["--token-file", "/none"], 78, "cannot read /none"),
        (["--drain", "-1"], 2, "--drain"),
    ],
)
def test_options_that_cannot_be_are_told(options, code, said):
    listen = [] if "--listen" in options else ["--listen", "127.0.0.1:0"]
    done = run_kvd("gateway", "http", *listen, *options)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told(web):
    done = run_kvd("gateway", "http", "--listen", web.gateway.address)
    assert (done.returncode, "cannot listen on" in done.stderr) == (69, True), done.stderr


@pytest.mark.parametrize(
    ("kind", "module"), [("http", "starlette"), ("http", "uvloop"), ("grpc", "grpc"), ("nats", "nats")]
)
def test_without_the_extra_one_sentence_names_it(kind, module):
    hidden = f"import sys; sys.modules[{module!r}] = None; from kvd.cli import main; main()"
    command = [sys.executable, "-c", hidden, "gateway", kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (69, 1)
    assert f"pip install 'kvd-server[{kind}]'" in done.stderr


@pytest.mark.parametrize("kind", ["http", "tcp", "grpc"])
def test_an_idle_gateway_rests_though_its_daemon_goes_and_comes(daemon, make_gateway, kind):
    def spent():
        words = Path(f"/proc/{gateway.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    gateway = make_gateway(kind, daemon.commands)
    if kind == "http":
        assert Web(gateway).get("/kv").status == 200
    if kind == "tcp":
        with socket.create_connection((gateway.host, gateway.port), timeout=60) as sock:
            sock.sendall(b"\0\0\0\0\0\0\1a")
            assert sock.recv(100)
    if kind == "grpc":
        with grpc.insecure_channel(gateway.address) as channel:
            channel.unary_unary("/kvs2.Kvs2/Get")(b"\x0a\x01a", timeout=60)
    daemon.kill()
    time.sleep(0.5)
    before = spent()
    time.sleep(1.5)
    daemon.start()
    time.sleep(1)
    assert spent() - before < 0.8, "it asks for what it never takes in"
