"""`kvd serve` from outside: what it refuses, how it ends, what it leaves behind."""

import contextlib
import grp
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys

import pytest
from support.running import eventually, serve

from kvd.client import Client
from kvd.commands.changes import Changes
from kvd.errors import ClientError, Unreachable


def ends(daemon):
    return ["--listen", f"ipc://{daemon.directory}/other.sock", "--publish", f"ipc://{daemon.directory}/otherp.sock"]


def test_a_second_daemon_on_the_directory_is_refused_and_the_first_untouched(daemon, kv):
    code, said = serve("--data", daemon.data, *ends(daemon))
    assert code == 69
    assert f"is served by another kvd (process {daemon.process.pid})" in said
    assert kv.ping() == b"PONG"


@pytest.mark.parametrize("which", ["commands", "changes"])
def test_an_ipc_path_in_use_is_never_stolen(daemon, kv, tmp_path, which):
    endpoint = getattr(daemon, which)
    code, said = serve("--data", tmp_path / "d", "--listen", endpoint, "--publish", f"ipc://{tmp_path}/p")
    assert code == 69
    assert f"{endpoint} is in use by another kvd" in said
    assert kv.ping() == b"PONG"


def test_an_ipc_path_of_another_program_is_never_stolen(tmp_path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        other.listen()
        code, said = serve("--data", tmp_path / "d", "--listen", f"ipc://{tmp_path}/s")
        assert (code, "is in use by another program" in said) == (69, True)
        with socket.socket(socket.AF_UNIX) as trial:
            trial.connect(str(tmp_path / "s"))


def test_a_file_where_the_socket_should_be_is_not_removed(tmp_path):
    (tmp_path / "s").write_text("precious")
    code, said = serve("--data", tmp_path / "d", "--listen", f"ipc://{tmp_path}/s")
    assert (code, "not a socket" in said) == (78, True)
    assert (tmp_path / "s").read_text() == "precious"


def test_a_tcp_port_in_use_is_told(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, said = serve("--data", tmp_path / "d", "--listen", f"tcp://127.0.0.1:{other.getsockname()[1]}")
        assert (code, "is in use by another program" in said) == (69, True)


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        ("tcp://0.0.0.0:7411", "could read and write everything"),
        ("tcp://*:7411", "could read and write everything"),
        ("tcp://192.0.2.1:7411", "could read and write everything"),
        ("tcp://[::]:7411", "could read and write everything"),
        ("http://127.0.0.1:7411", "an endpoint is tcp://ADDRESS:PORT or ipc://PATH"),
        ("7411", "an endpoint is tcp://ADDRESS:PORT or ipc://PATH"),
        ("tcp://127.0.0.1", "an endpoint is tcp://ADDRESS:PORT or ipc://PATH"),
        ("tcp://127.0.0.1:banana", "cannot bind"),
        ("ipc://" + "/x" * 80, "the path of a unix socket has"),
        ("ipc:///proc/nowhere/s", "cannot use"),
    ],
)
def test_an_endpoint_that_cannot_be_served_is_refused_with_a_sentence(tmp_path, endpoint, sentence):
    code, said = serve("--data", tmp_path / "d", "--listen", endpoint, "--publish", f"ipc://{tmp_path}/p")
    assert (code, sentence in said) == (78, True), said


def test_the_same_endpoint_twice_is_refused(tmp_path):
    code, said = serve("--data", tmp_path / "d", "--listen", f"ipc://{tmp_path}/s", "--publish", f"ipc://{tmp_path}/s")
    assert (code, "is listed twice" in said) == (78, True)


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    code, said = serve("--data", tmp_path / "file" / "d")
    assert (code, "cannot create the data directory" in said) == (74, True)


def test_files_that_are_no_databases_are_told(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "journal.db").write_bytes(b"not a database, but longer than a header of one hundred bytes" * 10)
    code, said = serve("--data", tmp_path / "d")
    assert (code, "is it a kvd database, whole and readable?" in said) == (74, True)


def test_sockets_and_directories_are_for_their_owner_only(make_daemon):
    daemon = make_daemon()
    folder = daemon.directory / "run"
    daemon.commands, daemon.changes = f"ipc://{folder}/c.sock", f"ipc://{folder}/p.sock"
    daemon.start()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "c.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "p.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.data.stat().st_mode) == 0o700


def test_an_ipc_socket_may_be_a_groups_too(make_daemon):
    group = grp.getgrgid(os.getgid())
    daemon = make_daemon("--group", group.gr_name)
    folder = daemon.directory / "run"
    daemon.commands, daemon.changes = f"ipc://{folder}/c.sock", f"ipc://{folder}/p.sock"
    daemon.start()
    for path, mode in ((folder, 0o710), (folder / "c.sock", 0o660), (folder / "p.sock", 0o660)):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (mode, group.gr_gid)


def test_a_group_that_is_not_there_is_told(tmp_path):
    code, said = serve("--data", tmp_path / "d", "--listen", f"ipc://{tmp_path}/s", "--group", "nobody-here")
    assert (code, "no group nobody-here exists" in said) == (78, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_0_and_all_it_okd_is_there(daemon, number):
    with daemon.client() as kv:
        pipeline = kv.pipeline()
        for key in range(5000):
            pipeline.set(str(key), "x")
        daemon.signal(number)
        with contextlib.suppress(ClientError):
            pipeline.close()
        okd = [key for key, result in enumerate(pipeline.results) if result is None]
    assert daemon.process.wait(3) == 0
    assert not [path for path in daemon.directory.iterdir() if path.suffix == ".sock"]
    daemon.start()
    with daemon.client() as kv:
        assert {b"%d" % key for key in okd} <= set(kv.scan())


def test_those_who_wait_are_told_at_the_end(daemon, kv):
    with kv.stream() as stream:
        stream.send(Changes(0, None, None, 30_000), "wait")
        while kv.info("traffic")["traffic"]["waiting"] < 1:
            stream.receive(0.02)  # on a slow machine it takes a while to get there
        daemon.signal(signal.SIGTERM)
        [(_, outcome)] = stream.receive()
    assert outcome.code == "SHUTTING_DOWN"


@pytest.mark.parametrize("mode", ["always", "interval", "never"])
def test_fsync_modes_are_named_in_info_and_survive_kill(make_daemon, mode):
    daemon = make_daemon("--fsync", mode).start()
    with daemon.client() as kv:
        assert kv.info("server")["server"]["fsync"] == mode
        with kv.pipeline() as pipeline:
            for key in range(1000):
                pipeline.set(str(key), "x")
    daemon.kill()  # the process dies, not the machine: nothing is lost in any mode
    daemon.start()
    with daemon.client() as kv:
        assert kv.count() == 1000


def test_default_endpoints_are_loopback(tmp_path):
    code = subprocess.run(
        [sys.executable, "-m", "kvd", "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "tcp://127.0.0.1:7411" in code
    assert "tcp://127.0.0.1:7412" in code


def test_tcp_serves_and_a_wildcard_port_is_told(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "kvd",
            "serve",
            "--data",
            str(tmp_path / "d"),
            "--listen",
            "tcp://127.0.0.1:*",
            "--listen",
            "tcp://[::1]:*",
            "--publish",
            "tcp://127.0.0.1:*",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ready = process.stderr.readline()
        words = dict(word.split("=", 1) for word in shlex.split(ready) if "=" in word)
        with Client(words["commands"].split()[0]) as kv, kv.watch() as watch:
            watch.ready()
            kv.set("a", "1")
            assert next(watch).key == b"a"
            second = kv.info("server")["server"]["commands"][1]
        with Client(second) as kv:
            assert kv.get("a") == b"1"
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_nothing_runs_later_that_a_client_gave_up_on(make_daemon):
    daemon = make_daemon().start()
    daemon.kill()
    with daemon.client(timeout=0.3) as kv:
        with pytest.raises(Unreachable):
            kv.set("ghost", "1")
        daemon.start()
        eventually(lambda: is_answered(kv))  # by the connection that would still send it
    with daemon.client() as kv:
        assert kv.get("ghost") is None
        assert kv.count() == 0


def is_answered(kv):
    with contextlib.suppress(ClientError):
        return kv.ping()
    return None
