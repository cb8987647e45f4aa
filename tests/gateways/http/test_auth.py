"""Authentication over HTTP: Host, Origin, tokens, the daemon's roles, TLS."""

import re
import socket
import ssl
import subprocess
import urllib.request

import pytest
from support.doors import AccessFiles
from support.programs import require
from support.running import eventually, run_kvd
from support.web import Events, Web
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from kvd.gateways.common.tokens import digest, new_token


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:7480", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("0.0.0.0:23333", 200),
        ("[::]:7480", 200),
        ("127.0.1.1", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("192.0.2.1", 403),
        ("0.0.0.0.evil.example", 403),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("[", 403),
        ("localhost@evil.example", 403),
    ],
)
def test_a_page_whose_name_was_made_to_mean_us_is_refused(web, host, status):
    answer = web.get("/kv", Host=host)
    assert answer.status == status, answer
    if status != 200:
        assert "--host" in answer.json["message"]


def test_names_that_are_given_are_let_in(daemon, make_gateway):
    web = Web(make_gateway("http", daemon.commands, "--host", "kv.example"))
    assert web.get("/kv", Host="kv.example:443").status == 200
    assert web.get("/kv", Host="localhost").status == 200
    assert web.get("/kv", Host="other.example").status == 403


@pytest.mark.parametrize(
    ("method", "path", "origin", "status"),
    [
        ("PUT", "/kv/a", None, 200),
        ("PUT", "/kv/a", "http://HOST", 200),
        ("PUT", "/kv/a", "http://0.0.0.0:7480", 403),
        ("PUT", "/kv/a", "http://evil.example", 403),
        ("PUT", "/kv/a", "null", 403),
        ("POST", "/v1/commands", "http://localhost:1", 403),
        ("DELETE", "/kv/a", "http://evil.example", 403),
        ("GET", "/kv", "http://evil.example", 200),
    ],
)
def test_pages_of_others_may_not_write(web, method, path, origin, status):
    headers = {} if origin is None else {"Origin": origin.replace("HOST", web.gateway.address)}
    answer = web.ask(method, path, b'{"command":"PING"}' if method != "GET" else None, **headers)
    assert answer.status == status, answer
    assert "access-control-allow-origin" not in answer.headers


def test_pages_of_others_may_not_watch(web):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{web.gateway.address}/v1/watch", origin="http://evil.example")
    assert refused.value.response.status_code == 403
    with connect(f"ws://{web.gateway.address}/v1/watch", origin=f"http://{web.gateway.address}"):
        pass


def test_an_origin_that_is_given_may_read_and_write(daemon, make_gateway):
    origin = "https://app.example"
    web = Web(make_gateway("http", daemon.commands, "--origin", origin))
    asked = {"Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "authorization,if-match"}
    assert web.ask("OPTIONS", "/kv/a", Origin=origin, **asked).headers["access-control-allow-origin"] == origin
    assert web.ask("OPTIONS", "/kv/a", Origin="https://evil.example", **asked).status == 400
    answer = web.ask("PUT", "/kv/a", b"x", Origin=origin)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert web.ask("PUT", "/kv/a", b"x", Origin="https://evil.example").status == 403


def test_another_address_wants_tokens_or_a_word(daemon):
    done = run_kvd("gateway", "http", "--url", daemon.commands, "--listen", "0.0.0.0:0")
    assert (done.returncode, "--token-file" in done.stderr, "--insecure" in done.stderr) == (78, True, True), (
        done.stderr
    )


@pytest.mark.parametrize("origin", ["http://[x", "null", "://", "http://localhost:1@HOST"])
def test_an_origin_that_is_none_is_refused(web, origin):
    answer = web.ask("PUT", "/kv/a", b"x", Origin=origin.replace("HOST", web.gateway.address))
    assert answer.status == 403, answer


def test_two_hosts_are_one_too_many(web):
    with socket.create_connection((web.gateway.host, web.gateway.port), timeout=60) as sock:
        sock.sendall(b"GET /kv HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n")
        assert sock.recv(1_000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("host", "status"), [("192.0.2.1:7480", 200), ("[2001:db8::1]", 200), ("localhost", 200), ("evil.example", 403)]
)
def test_who_listens_for_all_still_is_no_page_of_others(daemon, make_gateway, host, status):
    gateway = make_gateway("http", daemon.commands, "--insecure", listen="0.0.0.0:0")
    gateway.address = gateway.address.replace("0.0.0.0", "127.0.0.1")
    assert Web(gateway).ask("PUT", "/kv/a", b"x", Host=host, Origin=f"http://{host}").status == status


class House:
    """A daemon with keys, and a token file with keys of its clients."""

    def __init__(self, tmp_path, make_daemon):
        self.doors = AccessFiles(tmp_path)
        self.tokens = {}
        self.file = tmp_path / "tokens.toml"
        people = {
            "reader": {"role": "read"},
            "writer": {"role": "write"},
            "boss": {"role": "admin"},
            "part": {"role": "write", "prefixes": ["part:"]},
        }
        self.doors.write(root={"role": "admin"}, gateway={"role": "read"}, **people)
        self.write(*people, "nokey")
        self.daemon = make_daemon(*self.doors.options)
        self.daemon.keys = self.doors.keys("root")
        self.daemon.start()
        self.options = [
            *("--key", str(self.doors.make("gateway")), "--server-key", str(tmp_path / "daemon.key")),
            *("--token-file", str(self.file)),
        ]

    def write(self, *names):
        lines = []
        for name in names:
            token = self.tokens.setdefault(name, new_token())
            lines += [f"[{name}]", f'token = "{digest(token)}"']
            if name != "nokey":
                self.doors.make(name)
                lines += [f'key = "{name}.key_secret"']
        self.file.write_text("\n".join(lines))

    def web(self, gateway, name):
        return Web(gateway, Authorization=f"Bearer {self.tokens[name]}")


@pytest.fixture
def house(tmp_path, make_daemon):
    return House(tmp_path, make_daemon)


def test_roles_hold_through_the_gateway(house, make_gateway):
    gateway = make_gateway("http", house.daemon.commands, *house.options)
    reader, writer, boss, part, nokey = (house.web(gateway, name) for name in house.tokens)
    assert writer.ask("PUT", "/kv/a", b"1").status == 200
    assert [who.get("/kv/a").status for who in (reader, writer, boss, part, nokey)] == [200, 200, 200, 403, 200]
    assert [who.ask("PUT", "/kv/b", b"1").status for who in (reader, part, nokey, boss)] == [403, 403, 403, 200]
    assert part.ask("PUT", "/kv/part:1", b"1").status == 200
    assert [who.command(command="CONFIG").status for who in (reader, writer, boss, part)] == [403, 403, 200, 403]
    assert part.get("/kv?prefix=part:").json["items"] == ["part:1"]
    assert part.get("/kv").json["code"] == "DENIED"
    assert reader.ask("POST", "/set", {"Key": "a", "Value": "x"}).status == 403
    assert part.ask("DELETE", "/rm", {"key": "a"}).status == 403
    assert part.get("/getall").status == 403
    assert part.get("/v1/watch").status == 403
    both = {"command": "TRANSACTION", "conditions": [], "commands": [{"command": "SET", "key": "x", "value": ""}]}
    assert part.command(**both).status == 403
    assert part.command(command="ONCE", token="12345678", write=both).status == 403
    with Events(gateway, "prefix=part:&since=0", Authorization=part.headers["Authorization"]) as events:
        assert events.one()["data"]["key"] == "part:1"


def test_who_brings_no_token_sees_nothing_but_that_we_live(house, make_gateway):
    gateway = make_gateway("http", house.daemon.commands, *house.options, listen="0.0.0.0:0")
    gateway.address = gateway.address.replace("0.0.0.0", "127.0.0.1")
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"}, {"Authorization": "Bearer "}):
        web = Web(gateway, **headers)
        for path in ("/kv", "/kv/a", "/metrics", "/openapi.json", "/getall", "/", "/none", "/get?key=a"):
            answer = web.get(path)
            assert (answer.status, answer.json["code"]) == (401, "NOT_KNOWN"), path
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert [web.get(path).status for path in ("/livez", "/readyz", "/ui")] == [200, 200, 200]
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{gateway.address}/v1/watch", additional_headers=headers)
        assert refused.value.response.status_code == 401
    token = house.tokens["reader"]
    assert Web(gateway, Authorization=f"bearer {token}").get("/metrics").status == 200
    assert Web(gateway).get(f"/kv?token={token}").status == 401


def test_a_token_that_is_taken_away_is_cut_off_and_a_bad_file_changes_nothing(house, make_gateway):
    gateway = make_gateway("http", house.daemon.commands, *house.options)
    reader, writer = house.web(gateway, "reader"), house.web(gateway, "writer")
    assert writer.ask("PUT", "/kv/a", b"1").status == 200
    with Events(gateway, Authorization=reader.headers["Authorization"]) as events:
        house.file.write_text("[reader]\ntoken = 3\n[x")
        gateway.process.send_signal(1)
        eventually(lambda: "event=bad_tokens" in gateway.log.read_text())
        assert reader.get("/kv/a").status == 200
        house.write("writer")
        gateway.process.send_signal(1)
        eventually(lambda: "event=tokens_read" in gateway.log.read_text())
        assert reader.get("/kv/a").status == 401
        assert writer.ask("PUT", "/kv/a", b"2").status == 200
        [told] = events.rest()
        assert (told["event"], told["data"]["code"]) == ("error", "NOT_KNOWN")


def test_a_token_taken_away_while_a_request_comes_is_told(house, make_gateway):
    gateway = make_gateway("http", house.daemon.commands, *house.options)
    head = f"Authorization: Bearer {house.tokens['writer']}\r\nContent-Length: 2\r\n"
    with socket.create_connection((gateway.host, gateway.port), timeout=60) as sock, house.daemon.client() as kv:
        sock.sendall(f"PUT /kv/a HTTP/1.1\r\nHost: localhost\r\n{head}\r\nx".encode())
        assert house.web(gateway, "writer").get("/kv/a").status == 404
        house.write("reader")
        gateway.process.send_signal(1)
        eventually(lambda: "event=tokens_read" in gateway.log.read_text())
        sock.sendall(b"y")
        assert sock.recv(1_000).startswith(b"HTTP/1.1 401 ")
        assert kv.get("a") is None


def test_who_takes_nothing_is_cut_off_with_his_token(house, make_gateway):
    gateway = make_gateway("http", house.daemon.commands, *house.options)
    with socket.create_connection((gateway.host, gateway.port), timeout=60) as sock, house.daemon.client() as kv:
        head = f"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {house.tokens['reader']}\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(100)
        for _ in range(40):
            kv.set("k", b"x" * 500_000)
        house.write("writer")
        gateway.process.send_signal(1)
        eventually(lambda: kv.info("traffic")["traffic"]["watchers"] == 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it has no tokens"),
        ("x", "tokens.toml: "),
        ("a=" + "[" * 5_000, "tokens.toml: "),
        ("x = 3", ":1: [x] is not a table"),
        ("[a]\n", ":1: [a] needs a token"),
        ('[a]\ntoken = "sha256:12"', "[a] needs a token"),
        ('["a b"]\ntoken = "DIGEST"', "is not a name"),
        ('[a]\ntoken = "DIGEST"\nrole = "read"', "has an unknown option role"),
        ('[a]\ntoken = "DIGEST"\nkey = 3', "has a key that is not a string"),
        ('[a]\ntoken = "DIGEST"\nkey = "none.key_secret"', "none.key_secret"),
        ('[a]\ntoken = "DIGEST"\n[b]\ntoken = "DIGEST"', ":3: [b] has the token of [a]"),
    ],
)
def test_a_token_file_that_is_wrong_is_told_with_its_place(tmp_path, content, said):
    file = tmp_path / "tokens.toml"
    file.write_text(content.replace("DIGEST", digest("x")))
    AccessFiles(tmp_path)
    server_key = ["--server-key", str(tmp_path / "daemon.key"), "--key", str(tmp_path / "daemon.key_secret")]
    done = run_kvd("gateway", "http", "--token-file", file, "--listen", "127.0.0.1:0", *server_key)
    assert (done.returncode, said in done.stderr) == (78, True), done.stderr


def test_a_token_is_told_once_and_its_lines_let_it_in(tmp_path, daemon, make_gateway):
    done = run_kvd("gateway", "token", "ada")
    token = re.fullmatch(r"the token of ada, shown only now: (\S{43})\n", done.stderr)[1]
    file = tmp_path / "tokens.toml"
    file.write_text(done.stdout)
    assert token not in done.stdout
    web = Web(make_gateway("http", daemon.commands, "--token-file", str(file)), Authorization=f"Bearer {token}")
    assert web.ask("PUT", "/kv/a", b"1").status == 200
    assert run_kvd("gateway", "token", "a b").returncode == 2


@pytest.fixture
def certificate(tmp_path):
    require("openssl")
    files = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *subject]
    subprocess.run([*made, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


def test_https(daemon, make_gateway, certificate):
    options = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    gateway = make_gateway("http", daemon.commands, *options)
    assert f"https://{gateway.address}" in gateway.log.read_text()
    trust = ssl.create_default_context(cafile=certificate[0])
    with urllib.request.urlopen(f"https://{gateway.address}/livez", context=trust, timeout=60) as answer:
        assert answer.status == 200
    with connect(f"wss://{gateway.address}/v1/watch", ssl=trust), daemon.client() as kv:
        kv.set("a", "1")


@pytest.mark.parametrize("options", [["--tls-cert", "CERT"], ["--tls-cert", "/none", "--tls-key", "/none"]])
def test_a_certificate_that_cannot_be_used_is_told(certificate, options):
    named = [str(certificate[0]) if each == "CERT" else each for each in options]
    done = run_kvd("gateway", "http", "--listen", "127.0.0.1:0", *named)
    assert (done.returncode, "--tls" in done.stderr) == (78, True), done.stderr
