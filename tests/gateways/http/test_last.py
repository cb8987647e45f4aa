"""The shutdown of an HTTP gateway: pending requests are answered, and connections are closed."""

import signal
import socket
import subprocess
import sys

import pytest
from support.running import eventually

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def read_to_end(sock):
    """Return everything received until the gateway closes."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def refuses(place):
    try:
        socket.create_connection(place).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("requests_before", [0, 1])
def test_a_request_that_comes_as_it_ends_is_answered_and_the_client_told_to_go(
    requests_before, make_gateway, make_daemon
):
    gateway = make_gateway("http", make_daemon().start().commands)
    place = (gateway.host, gateway.port)
    with socket.create_connection(place, timeout=60) as sock, sock.makefile("rb") as lines:
        for _ in range(requests_before):
            sock.sendall(REQUEST)
            assert b"connection: close" not in iter(lines.readline, b"\r\n")
            lines.read(len("the gateway answers\n"))
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(place))  # from here on the connections are being closed
        sock.sendall(REQUEST)
        answer = lines.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert gateway.process.wait(60) == 0


def test_while_it_is_not_ready_it_answers_and_each_answer_is_the_last_of_its_connection(make_gateway, make_daemon):
    gateway = make_gateway("http", make_daemon().start().commands, "--drain", "1")
    gateway.process.send_signal(signal.SIGTERM)

    def is_last():
        with socket.create_connection((gateway.host, gateway.port), timeout=60) as sock:
            sock.sendall(REQUEST.replace(b"/livez", b"/readyz"))
            sock.settimeout(0.2)
            try:
                answer = read_to_end(sock)
                return answer.startswith(b"HTTP/1.1 503 ") and b"\r\nconnection: close\r\n" in answer
            except TimeoutError:  # it was asked before it heard the signal
                return False

    eventually(is_last)
    assert gateway.process.wait(60) == 0


def test_one_who_says_nothing_does_not_keep_it(make_gateway, make_daemon):
    gateway = make_gateway("http", make_daemon().start().commands)
    with socket.create_connection((gateway.host, gateway.port), timeout=60) as sock:
        gateway.process.send_signal(signal.SIGTERM)
        assert read_to_end(sock) == b""
        assert gateway.process.wait(60) == 0


ASKING = """
import http.client, sys, threading
turns, failed = 0, []
def ask():
    global turns
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
        try:
            connection.request("GET", "/kv/city")
            assert connection.getresponse().read() == b"Ahmedabad"
        except (OSError, http.client.HTTPException, AssertionError) as error:
            failed.append(repr(error))
        connection.close()
        turns += 1
over = threading.Event()
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
sys.stdin.readline()
over.set()
for thread in threads: thread.join()
print(turns > 0, failed)
"""


def test_at_a_socket_that_is_passed_no_request_fails_while_gateways_come_and_go(make_daemon, tmp_path):
    daemon = make_daemon().start()
    with daemon.client() as kv:
        kv.set("city", "Ahmedabad")
    command = [sys.executable, "-m", "kvd", "gateway", "http", "--url", daemon.commands]
    # As systemd does it: the shell becomes the gateway, and so knows its own process id.
    passing = ["sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&0 </dev/null; exec "$@"', "sh", *command]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as passed:
        asking = subprocess.Popen(
            [sys.executable, "-c", ASKING, str(passed.getsockname()[1])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        for number in range(4):
            log = tmp_path / f"log-{number}"
            with log.open("wb") as file:
                process = subprocess.Popen(passing, stdin=passed, stderr=file)
            eventually(lambda log=log: "gateway_ready" in log.read_text())
            if number == 3:
                printed, _ = asking.communicate("\n", timeout=60)
            process.terminate()
            assert process.wait(60) == 0, log.read_text()
    assert printed == "True []\n"
