"""Errors name the cause and a remedy: no daemon answers, a word is wrong, Ctrl-C ends a write."""

import os
import select
import signal
import socket
import subprocess

import click
import pytest
from support.kvsh_cases import KVSH
from support.running import Daemon

from kvd.client import Stream
from kvd.commands.server import Ping
from kvd.errors import Unreachable
from kvsh.cli.app import EPILOG, command
from kvsh.ui.settings import Settings


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "ipc:///nowhere/kvd.sock", "tcp://nowhere.invalid:7411"])
def test_nobody_waits_for_a_daemon_that_was_never_there(endpoint):
    with Stream(endpoint, timeout=10_000, refused_timeout=0.05) as stream, pytest.raises(Unreachable):
        stream.answer(Ping())


def test_a_daemon_that_comes_soon_is_found(tmp_path):
    daemon = Daemon(tmp_path)
    with Stream(daemon.commands, timeout=60, refused_timeout=60) as stream:
        stream.send(Ping())
        assert stream.receive(0.1) == []
        daemon.start()
        try:
            [(_, outcome)] = stream.receive()
        finally:
            daemon.stop()
    assert outcome.result == b"PONG"


def test_every_way_gives_up_soon():
    settings = Settings(url="ipc:///d", timeout=5.0, form="raw")
    assert settings.stream["refused_timeout"] <= 0.2
    assert settings.connection["connect_timeout"] == 2.0


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("tcp://nowhere.invalid:7411", "(the name is not found: "),
        ("tcp://nowhere.invalid:7411", "check the spelling of the host in --url"),
        ("tcp://127.0.0.1:1", "(Connection refused): start one with `kvd serve --data DIR`"),
        ("tcp://127.0.0.1:99999", "the port has to be 1 to 65535, not '99999'"),
        ("tcp://127.0.0.1:0", "the port has to be 1 to 65535, not '0'"),
        ("127.0.0.1:7411", "did you mean tcp://127.0.0.1:7411?"),
    ],
)
@pytest.mark.parametrize("words", [("get", "k"), ("watch",), ("--stat",)])
def test_each_cause_has_its_advice(kvsh, endpoint, message, words):
    code, _, messages = kvsh("--url", endpoint, *words)
    assert code in (2, 3)
    assert message in messages
    assert messages.count("\n") == 1


def test_the_publish_endpoint_and_another_program_are_recognised(kvsh, daemon):
    code, _, messages = kvsh("--url", daemon.replace("kvd.sock", "changes.sock"), "get", "k")
    assert (code, "commands go to the endpoint of --listen" in messages) == (3, True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = (
            "import socket, sys; s = socket.socket(fileno=0)\nwhile True: s.accept()[0].sendall(b'HTTP/1.1 200 OK')"
        )
        with subprocess.Popen(["python3", "-c", answer], stdin=server.fileno()) as other:
            try:
                code, _, messages = kvsh("--url", f"tcp://127.0.0.1:{server.getsockname()[1]}", "get", "k")
            finally:
                other.kill()
    assert (code, "another program listens on that port" in messages) == (3, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("get", "k", "--json", "--perty"), 'GET has no place for "--perty", and there is no such option'),
        (("get", "k", "--perty"), 'GET has no place for "--perty", and there is no such option'),
        (("set", "k", "v", "-q", "--foo"), 'SET has no place for "--foo", and there is no such option'),
        (("get", "k", "--json", "-z"), 'GET has no place for "-z", and there is no such option'),
        (("get", "k", "more", "--json"), 'GET has no place for "more"; the syntax'),
        (("set", "k", "--", "-5"), '"--" is an argument here, and a word that begins with - needs none before it'),
        (("set", "--", "k", "-5"), '"--" is an argument here, and a word that begins with - needs none before it'),
    ],
)
def test_the_word_that_is_wrong_is_named(kvsh, words, message):
    code, _, messages = kvsh(*words)
    assert code == 2
    assert message in messages


def test_x_says_what_it_waits_for_at_a_terminal(terminal, kv):
    shell = terminal("set", "k", "-x")
    shell.shows("the last argument is read from the terminal, up to Ctrl-D (`kvsh -- set k -x` stores -x)")
    shell.type("v\n\x04")
    assert shell.wait_for_exit() == 0
    assert kv.get("k") == b"v\n"


def interrupt(child):
    """Send Ctrl-C to kvsh; return its code, and what it said."""
    child.send_signal(signal.SIGINT)
    _, messages = child.communicate(timeout=60)
    return child.returncode, messages.decode()


def start_kvsh(environment, *arguments):
    """Start kvsh."""
    return subprocess.Popen([*KVSH, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("incr", "n"), "kvsh: INCR: interrupted: it may have been executed, or may be yet\n"),
        (("set", "k", "v"), "kvsh: SET: interrupted: it may have been executed, or may be yet\n"),
        (("get", "k"), ""),
    ],
)
def test_an_interrupted_write_tells_its_outcome(kv, environment, words, message):
    pid = kv.info()["server"]["pid"]
    with start_kvsh(environment, "--timeout", "60", "-r", "1000000", *words) as child:
        child.stdout.readline()
        os.kill(pid, signal.SIGSTOP)
        try:
            while select.select([child.stdout], [], [], 0.2)[0]:
                os.read(child.stdout.fileno(), 65536)
            assert interrupt(child) == (130, message)
        finally:
            os.kill(pid, signal.SIGCONT)


def test_an_interrupted_write_that_was_not_sent_says_so(kv, environment, tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        environment["KVSH_URL"] = f"ipc://{tmp_path}/s"
        for form, message in [("raw", "kvsh: SET: interrupted: it was not sent\n"), ("json", "kvsh: SET: inter")]:
            with start_kvsh(environment, "--timeout", "60", "--format", form, "set", "k", "v") as child:
                silent.accept()[0].close()
                connection, _ = silent.accept()
                assert connection.recv(10)
                code, messages = interrupt(child)
                assert (code, messages[: len(message)]) == (130, message)


def test_help_names_each_variable_that_counts():
    options = [each for each in command.params if isinstance(each, click.Option)]
    variables = {f"KVSH_{str(each.name).upper()}" for each in options if each.allow_from_autoenv}
    variables |= {str(each.envvar) for each in options if each.envvar}
    named = {word.strip(",.") for word in EPILOG.split() if word.startswith("KVSH_")}
    assert named == {"KVSH_FORMAT" if name == "KVSH_FORM" else name for name in variables}
