"""CURVE: a client with keys talks to a server that knows them, and says what is wrong with a file."""

import socket
import threading

import pytest
import zmq
import zmq.auth
from nacl import bindings
from support.peers import GREETING, frame

import kvd
from kvd import wire
from kvd.client import AsyncClient, Client
from kvd.client.connection import make_session
from kvd.client.curve import Curve
from kvd.client.keys import Keys, read_keys
from kvd.client.zmtp import ProtocolError, Rejected
from kvd.commands.base import Ok
from kvd.errors import Unreachable


@pytest.fixture
def certificates(tmp_path):
    """Return the files of a client and of a server."""
    made = [zmq.auth.create_certificates(tmp_path, name) for name in ("ada", "daemon")]
    return {"ada": made[0][1], "daemon": made[1][0], "daemon secret": made[1][1], "ada public": made[0][0]}


@pytest.fixture
def server(certificates):
    """Return the endpoint of a CURVE server that says OK to one request."""
    with zmq.Context() as context:
        public, secret = zmq.auth.load_certificate(certificates["daemon secret"])
        sock = context.socket(zmq.ROUTER)
        sock.set(zmq.LINGER, 0)
        sock.set(zmq.CURVE_SERVER, 1)
        sock.set(zmq.CURVE_PUBLICKEY, public)
        sock.set(zmq.CURVE_SECRETKEY, secret)
        port = sock.bind_to_random_port("tcp://127.0.0.1")

        def serve():
            if sock.poll(5000):
                *envelope, _ = sock.recv_multipart()
                sock.send_multipart([*envelope, wire.encode(Ok(1, b"through"))])

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{port}"
        thread.join()
        sock.close()


def test_with_the_right_keys_a_command_goes_through(server, certificates):
    keys = read_keys(certificates["ada"], certificates["daemon"])
    with Client(server, timeout=4, keys=keys) as kv:
        assert kv.ping() == b"through"


def test_with_no_keys_or_the_wrong_servers_there_is_no_daemon(server, certificates):
    wrong = read_keys(certificates["ada"], certificates["ada public"])
    for keys in (None, wrong):
        with Client(server, timeout=0.3, keys=keys) as kv, pytest.raises(Unreachable):
            kv.ping()
    with Client(server, timeout=4, keys=read_keys(certificates["ada"], certificates["daemon"])) as kv:
        kv.ping()


def test_what_is_wrong_with_a_file_is_said(certificates, tmp_path):
    (tmp_path / "junk").write_text("curve\n")
    with pytest.raises(ValueError, match=r"cannot read .*none: No such file"):
        read_keys(str(tmp_path / "none"), certificates["daemon"])
    with pytest.raises(ValueError, match="junk is not a CURVE certificate"):
        read_keys(certificates["ada"], str(tmp_path / "junk"))
    with pytest.raises(ValueError, match="has no secret key"):
        read_keys(certificates["ada public"], certificates["daemon"])
    assert isinstance(read_keys(certificates["ada"], certificates["daemon"]), Keys)


def test_the_package_itself_has_what_a_client_with_keys_needs():
    assert kvd.read_keys is read_keys
    assert {"AsyncClient", "Client", "Keys", "read_keys"} <= set(kvd.__all__) <= set(dir(kvd))
    assert [kvd.Client, kvd.AsyncClient] == [Client, AsyncClient]


def make_keys():
    """Return a client's keys, and the two halves of the daemon's."""
    client_public, client_secret = zmq.curve_keypair()
    server_public, server_secret = zmq.curve_keypair()
    return Keys(client_public, client_secret, server_public), server_public, server_secret


@pytest.fixture
def curve_router(context):
    """Return a CURVE ROUTER of libzmq and a session that is connected to it."""
    keys, public, secret = make_keys()
    router = context.socket(zmq.ROUTER)
    router.set(zmq.CURVE_SERVER, 1)
    router.set(zmq.CURVE_PUBLICKEY, public)
    router.set(zmq.CURVE_SECRETKEY, secret)
    router.set(zmq.HEARTBEAT_IVL, 50)
    router.set(zmq.HEARTBEAT_TIMEOUT, 60_000)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    session = make_session(keys)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        yield router, session, sock


def read(sock, session, count=1):
    """Send the session's output and read until `count` messages have come, or, for 0, until the handshake is over."""
    found = []
    while True:
        sock.sendall(session.take_outgoing())
        if session.is_open and len(found) >= count:
            return found
        data = sock.recv(2**20)
        assert data
        found += session.receive(data)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 16 * 2**20])
def test_messages_of_every_size_pass_both_ways(curve_router, size):
    router, session, sock = curve_router
    read(sock, session, 0)
    body = b"x" * size
    sock.sendall(session.pack(b"number", b"", body))
    identity, *parts = router.recv_multipart()
    assert parts == [b"number", b"", body]
    router.send_multipart([identity, b"number", b"", body])
    assert read(sock, session) == [[b"number", b"", body]]


def test_a_ping_comes_encrypted_and_is_answered(curve_router):
    _, session, sock = curve_router
    read(sock, session, 0)
    while not session.outgoing:
        session.receive(sock.recv(4096))
    answer = session.take_outgoing()
    assert answer[2:].startswith(b"\x07MESSAGE")
    assert b"PONG" not in answer


class Tapped:
    """A session that records its incoming bytes, as an attacker on the network can."""

    def __init__(self, curve_router):
        self.router, self.session, self.sock = curve_router
        read(self.sock, self.session, 0)

    def reply(self):
        """Return the bytes of a reply, not given to the session yet."""
        self.sock.sendall(self.session.pack(b"", b"request"))
        identity, *_ = self.router.recv_multipart()
        self.router.send_multipart([identity, b"", b"body"])
        data = b""
        while data.count(b"\x07MESSAGE") < 2:
            data += self.sock.recv(4096)
        return data


def test_a_frame_that_is_repeated_changed_or_plain_is_refused(curve_router):
    tapped = Tapped(curve_router)
    data = tapped.reply()
    receive = tapped.session.receive
    changed = data[:-1] + bytes((data[-1] ^ 1,))
    with pytest.raises(ProtocolError, match="cannot be decrypted"):
        receive(changed)
    assert read_only(tapped.session, tapped.reply()) == [[b"", b"body"]]
    with pytest.raises(ProtocolError, match="a nonce was repeated"):
        receive(data)
    for plain in (b"\x00\x05hello", b"\x04\x05\x04PING", b"\x00\x08\x07MESSAGE"):
        with pytest.raises(ProtocolError, match=r"not encrypted|cannot be decrypted"):
            receive(plain)


def read_only(session, data):
    session._parts.clear()  # what came before the frame that was changed
    return session.receive(data)


@pytest.mark.parametrize(
    ("command", "error", "reason"),
    [
        (b"\x05ERROR\x03400", Rejected, "400"),
        (b"\x05READY" + bytes(30), ProtocolError, "CURVE does not have"),
        (b"\x07WELCOME" + bytes(160), ProtocolError, "another key than we trust"),
        (b"\x07WELCOME" + bytes(10), ProtocolError, "CURVE does not have"),
        (b"\x05HELLO", ProtocolError, "CURVE does not have"),
    ],
)
def test_a_handshake_that_is_not_the_daemons_is_refused(command, error, reason):
    keys, *_ = make_keys()
    session = make_session(keys)
    session.receive(GREETING.replace(b"NULL\0", b"CURVE"))
    with pytest.raises(error, match=reason):
        session.receive(frame(4, command))


def test_a_stranger_cannot_make_an_empty_box_or_a_ready():
    keys, *_ = make_keys()
    curve = Curve(b"DEALER", keys)
    curve._shared = bytes(32)
    with pytest.raises(ProtocolError, match="another key than we trust"):
        curve.on_command(b"\x05READY" + bytes(40))
    nonce = (1).to_bytes(8, "big")
    box = bindings.crypto_box_afternm(b"", b"CurveZMQMESSAGES" + nonce, bytes(32))
    with pytest.raises(ProtocolError, match="is empty"):
        curve.open(0, b"\x07MESSAGE" + nonce + box)
