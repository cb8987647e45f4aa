"""HTTP as a test asks it: a request and its answer, curl as people type it, and events as they come."""

import http.client
import json
import shlex
import socket
import subprocess
from typing import Any, NamedTuple

from support.programs import require


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """One who asks a gateway, by a connection for each request."""

    def __init__(self, gateway, kv=None, **headers: str) -> None:
        """`kv`: a client of the daemon itself, to look from the other side."""
        self.gateway, self.kv = gateway, kv
        self.headers = headers
        self.now = 0 if kv is None else kv.info("server")["server"]["revision"]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask; headers by their names with _ for -. A body that is not bytes goes as JSON."""
        connection = http.client.HTTPConnection(self.gateway.host, self.gateway.port, timeout=60)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in {**self.headers, **headers}.items()}
        try:
            connection.request(method, path, content, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def command(self, **command: Any) -> Answer:
        return self.ask("POST", "/v1/commands", command)

    def result(self, **command: Any) -> Any:
        answer = self.command(**command)
        assert answer.status == 200, answer
        return answer.json["result"]

    def curl(self, line: str) -> "subprocess.CompletedProcess[str]":
        """Run a line as it stands in a manual; its port is ours."""
        require("curl")
        words = [word.replace("HOST", self.gateway.address) for word in shlex.split(line)]
        return subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, timeout=60, check=False)


class Events:
    """Server-sent events, read from a socket: `with Events(gateway, "since=1") as events: events.take(3)`."""

    def __init__(self, gateway, query: str = "", **headers: str) -> None:
        self.sock = socket.create_connection((gateway.host, gateway.port), timeout=60)
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.sock.sendall(f"GET /v1/watch?{query} HTTP/1.1\r\nHost: {gateway.address}\r\n{named}\r\n".encode())
        self.response = http.client.HTTPResponse(self.sock)
        self.response.begin()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.close()
        self.sock.close()

    def one(self) -> dict[str, Any] | None:
        """Return the next event; None at the end. Comments are passed over."""
        found: dict[str, Any] = {}
        while True:
            line = self.response.readline()
            if not line:
                return None
            text = line.decode().rstrip("\n")
            if not text and found:
                return found
            if text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                found[name] = json.loads(value) if name == "data" else value

    def take(self, count: int) -> list[dict[str, Any]]:
        return [self.one() for _ in range(count)]

    def rest(self) -> list[dict[str, Any]]:
        """Return what comes until the connection is cut."""
        found = []
        try:
            while (event := self.one()) is not None:
                found.append(event)
        except (OSError, http.client.IncompleteRead):
            pass
        return found
