"""The errors of gateways for a daemon that is stopped, one that is away, and one that refuses their key."""

import signal

import grpc
import pytest
from support.chronicle import GET, Chronicle
from support.doors import AccessFiles
from support.rpcs import Rpcs
from support.web import Web

HANGS = "the daemon hangs or is stopped: it takes connections and answers nothing"
AWAY = "no daemon answers"


@pytest.fixture(params=["without keys", "with keys"])
def daemon_and_options(request, tmp_path, make_daemon):
    """Return a daemon, and the options for a gateway to connect to it."""
    if request.param == "without keys":
        return make_daemon().start(), ()
    doors = AccessFiles(tmp_path)
    doors.write(root={"role": "admin"}, gateway={"role": "write"})
    daemon = make_daemon(*doors.options)
    daemon.keys = doors.keys("root")
    return daemon.start(), ("--key", str(doors.make("gateway")), "--server-key", str(tmp_path / "daemon.key"))


def get_error(gateway):
    """Return the error of a GET: its code, if the protocol has one, and its message."""
    if gateway.kind == "http":
        answer = Web(gateway).command(command="GET", key="a")
        return answer.json.get("code"), answer.json.get("message", "")
    if gateway.kind == "tcp":
        with Chronicle(gateway) as client:
            return None, client.ask(GET, b"a")[1].decode()
    with pytest.raises(grpc.RpcError) as failed:
        Rpcs(gateway.address).kvd("Get", key=b"a")
    return dict(failed.value.trailing_metadata())["kvd-code"], failed.value.details()


@pytest.mark.parametrize("kind", ["http", "tcp", "grpc"])
def test_a_stopped_daemon_is_neither_away_nor_does_it_want_other_keys(daemon_and_options, make_gateway, kind):
    daemon, options = daemon_and_options
    gateway = make_gateway(kind, daemon.commands, *options)
    daemon.signal(signal.SIGSTOP)
    code, sentence = get_error(gateway)
    while HANGS not in sentence:  # the first may have been sent, over a connection that stood
        assert (code, "no reply in time" in sentence) in (("NO_REPLY", True), (None, True)), sentence
        code, sentence = get_error(gateway)
    assert code in ("UNREACHABLE", None)
    if kind == "http":
        ready = Web(gateway).get("/readyz")
        assert (ready.status, HANGS in ready.body.decode()) == (503, True)
    daemon.kill()
    code, sentence = get_error(gateway)
    while AWAY not in sentence:  # a dial that is under way may end with the daemon
        assert "NOT_LET_IN" not in (code, sentence), sentence
        code, sentence = get_error(gateway)
    assert code in ("UNREACHABLE", None)


@pytest.mark.parametrize("kind", ["http", "tcp", "grpc"])
def test_a_daemon_with_other_keys_does_not_let_in(tmp_path, make_daemon, make_gateway, kind):
    doors = AccessFiles(tmp_path)
    daemon = make_daemon(*doors.options)
    daemon.keys = doors.keys("root")
    daemon.start()
    doors.make("stranger")
    for options in ((), ("--key", str(doors.make("stranger")), "--server-key", str(tmp_path / "daemon.key"))):
        code, sentence = get_error(make_gateway(kind, daemon.commands, *options))
        assert code in ("NOT_LET_IN", None)
        assert HANGS not in sentence
        assert AWAY not in sentence
