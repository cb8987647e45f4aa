"""CURVE: a client with keys talks to a server that knows them, and says what is wrong with a file."""

import threading

import pytest
import zmq
import zmq.auth

import kvd
from kvd import wire
from kvd.client import AsyncClient, Client
from kvd.client.keys import Keys, read_keys
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
    with pytest.raises(ValueError, match="junk is no CURVE certificate"):
        read_keys(certificates["ada"], str(tmp_path / "junk"))
    with pytest.raises(ValueError, match="has no secret key"):
        read_keys(certificates["ada public"], certificates["daemon"])
    assert isinstance(read_keys(certificates["ada"], certificates["daemon"]), Keys)


def test_the_package_itself_has_what_a_client_with_keys_needs():
    assert kvd.read_keys is read_keys
    assert set(kvd.__all__) == {"AsyncClient", "Client", "read_keys"}
    assert [kvd.Client, kvd.AsyncClient] == [Client, AsyncClient]
