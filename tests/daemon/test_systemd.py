"""A daemon as systemd starts it, without a systemd: sockets bound already, readiness, signs of life, reload."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.running import eventually

from kvd.client import Client
from kvd.errors import ClientError

ROOT = Path(__file__).resolve().parents[2]
AS_SYSTEMD = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", sys.executable, "-m", "kvd", "serve"]


class Unit:
    """`kvd serve` with sockets from descriptor 3 on, as a unit would have it."""

    def __init__(self, directory, sockets, *options, **environment):
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(directory / "notify"))
        self.notified.settimeout(60)
        self.log = directory / "log"
        names = ":".join(sockets)
        given = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names, "NOTIFY_SOCKET": str(directory / "notify")}
        descriptors = [sock.fileno() for sock in sockets.values()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*AS_SYSTEMD, "--data", str(directory / "data"), *options],
                env={**os.environ, **given, **environment},
                stderr=log,
                cwd=ROOT,
                close_fds=False,
                preexec_fn=lambda: place(descriptors),  # noqa: PLW1509  # no thread of ours holds a lock here
            )

    def read_until(self, wanted):
        """Return the notifications up to the first that contains this text."""
        said = []
        while not said or wanted not in said[-1]:
            said.append(self.notified.recv(4096).decode())
        return said

    def end(self):
        self.process.terminate()
        return self.process.wait(60)


def place(descriptors):
    """Put descriptors at 3, 4, ...; what else is open stays behind."""
    aside = [os.dup2(fd, 100 + at) for at, fd in enumerate(descriptors)]
    for at, fd in enumerate(aside):
        os.dup2(fd, 3 + at)
    os.closerange(3 + len(descriptors), 256)


@pytest.fixture
def sockets(tmp_path):
    """Return listening sockets as the units' names: for commands and changes, on unix and TCP."""
    made = {}
    for name in ("ipc", "changes"):
        made[name] = socket.socket(socket.AF_UNIX)
        made[name].bind(str(tmp_path / f"{name}.sock"))
    for name in ("tcp", "changes-tcp"):
        made[name] = socket.socket()
        made[name].bind(("127.0.0.1", 0))
    for sock in made.values():
        sock.listen()
    yield made
    for sock in made.values():
        sock.close()


@pytest.fixture
def start(tmp_path, sockets):
    units = []

    def start_unit(names, *options, **environment):
        units.append(Unit(tmp_path, {name: sockets[name] for name in names}, *options, **environment))
        return units[-1]

    yield start_unit
    for unit in units:
        unit.process.kill()
        unit.process.wait()
        unit.notified.close()


def urls(sockets, tmp_path):
    return [f"ipc://{tmp_path}/ipc.sock", f"tcp://127.0.0.1:{sockets['tcp'].getsockname()[1]}"]


def test_sockets_that_are_passed_are_served_and_watched_over_each_transport(start, sockets, tmp_path):
    unit = start(["ipc", "changes", "tcp", "changes-tcp"])
    (ready,) = unit.read_until("READY=1")
    assert re.search(r"^STATUS=revision 0, 0 clients, 0 watchers$", ready, re.MULTILINE)
    for url in urls(sockets, tmp_path):
        with Client(url) as kv, kv.watch("a") as watch:
            watch.ready()
            kv.set("a", url)
            assert next(watch).value == url.encode()
            told = kv.info("server")["server"]
            assert told["commands"] == urls(sockets, tmp_path)
            assert told["changes_endpoints"][0] == told["changes"] == f"ipc://{tmp_path}/changes.sock"
    assert unit.end() == 0
    assert "STOPPING=1" in unit.read_until("STOPPING=1")[-1]
    assert (tmp_path / "ipc.sock").exists()


def test_who_connects_while_no_daemon_runs_is_answered_by_the_next(start, sockets, tmp_path):
    first = start(["ipc", "changes"])
    first.read_until("READY=1")
    with Client(urls(sockets, tmp_path)[0], timeout=60) as kv:
        kv.set("a", "1")
        assert first.end() == 0
        (tmp_path / "notify").unlink()
        first.notified.close()
        with Client(urls(sockets, tmp_path)[0], timeout=60) as another:
            second = start(["ipc", "changes"])
            assert another.get("a") == b"1"
            second.read_until("READY=1")
        eventually(lambda: kv.get("a") == b"1")


def test_defaults_are_not_bound_beside_passed_sockets_and_what_is_configured_is(start, tmp_path):
    unit = start(["ipc", "changes"], "--listen", f"ipc://{tmp_path}/own.sock")
    unit.read_until("READY=1")
    with Client(f"ipc://{tmp_path}/own.sock") as kv:
        assert kv.info("server")["server"]["commands"] == [f"ipc://{tmp_path}/{name}.sock" for name in ("ipc", "own")]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["changes"], "is for commands: enable kvd.socket"), (["ipc"], "enable kvd-changes.socket")],
)
def test_a_socket_that_is_missing_is_told_and_not_made_up_for(start, names, said):
    unit = start(names)
    assert unit.process.wait(60) == 78
    assert said in unit.log.read_text()


def test_a_passed_socket_for_everybody_wants_keys(start, sockets):
    sockets["tcp"].close()
    sockets["tcp"] = socket.socket()
    sockets["tcp"].bind(("0.0.0.0", 0))
    sockets["tcp"].listen()
    unit = start(["tcp", "changes"])
    assert unit.process.wait(60) == 78
    assert "any program that reaches this address could read and write everything" in unit.log.read_text()


def test_a_socket_that_does_not_listen_is_refused(start, sockets, tmp_path):
    sockets["ipc"] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sockets["ipc"].bind(str(tmp_path / "datagrams"))
    unit = start(["ipc", "changes"])
    assert unit.process.wait(60) == 78
    assert "does not listen: use ListenStream=" in unit.log.read_text()


def test_sockets_for_another_process_are_none_of_ours(start, tmp_path):
    unit = start(["ipc", "changes"], "--listen", f"ipc://{tmp_path}/c", "--publish", f"ipc://{tmp_path}/p")
    unit.process.kill()
    unit.process.wait()
    env = {**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "2"}
    command = [sys.executable, "-m", "kvd", "serve", "--data", str(tmp_path / "d"), "--listen", f"ipc://{tmp_path}/x"]
    with subprocess.Popen(
        [*command, "--publish", f"ipc://{tmp_path}/y"], env=env, cwd=ROOT, stderr=subprocess.PIPE
    ) as other:
        with Client(f"ipc://{tmp_path}/x", timeout=1) as kv:
            eventually(lambda: answers(kv))
            assert kv.info("server")["server"]["commands"] == [f"ipc://{tmp_path}/x"]
        other.terminate()


def answers(kv):
    with contextlib.suppress(ClientError):
        return kv.ping()
    return None


def test_signs_of_life_come_three_times_as_often_as_they_must_and_stop_with_the_loop(start):
    unit = start(["ipc", "changes"], WATCHDOG_USEC="600000")
    for _ in range(5):
        unit.read_until("WATCHDOG=1")
    os.kill(unit.process.pid, signal.SIGSTOP)
    unit.notified.settimeout(2)
    with pytest.raises(TimeoutError):
        for _ in range(100):
            unit.read_until("WATCHDOG=1")
    os.kill(unit.process.pid, signal.SIGCONT)
    unit.notified.settimeout(60)
    assert "STATUS=revision 0" in unit.read_until("WATCHDOG=1")[-1]


def test_without_a_watchdog_no_signs_are_given(start):
    unit = start(["ipc", "changes"])
    unit.read_until("READY=1")
    unit.notified.settimeout(1)
    with pytest.raises(TimeoutError):
        unit.notified.recv(4096)


def test_a_reload_takes_up_what_may_change_and_says_what_may_not(start, sockets, tmp_path):
    file = tmp_path / "kvd.toml"
    file.write_text("kept_changes = 10\n")
    unit = start(["ipc", "changes"], "--config", str(file))
    unit.read_until("READY=1")
    with Client(urls(sockets, tmp_path)[0]) as kv:
        assert kv.config("kept-changes") == {"kept_changes": {"value": 10, "source": f"{file}:1", "reload": True}}
        file.write_text('fsync = "never"\nkept_changes = 20\nlog_level = "debug"\n')
        unit.process.send_signal(signal.SIGHUP)
        said = unit.read_until("READY=1")
        assert re.match(r"RELOADING=1\nMONOTONIC_USEC=\d+$", said[0])
        config = kv.config()
        assert [config[name]["value"] for name in ("kept_changes", "log_level", "fsync")] == [20, "debug", "always"]
        assert config["kept_changes"]["source"] == f"{file}:2"
        assert "level=warning event=needs_restart option=fsync counts=" in unit.log.read_text()
        file.write_text("kept_changes = 0\nport = 1\n")
        unit.process.send_signal(signal.SIGHUP)
        unit.read_until("READY=1")
        assert kv.config("kept_changes")["kept_changes"]["value"] == 20
        log = unit.log.read_text()
        assert log.count("event=reload_failed") == 2
        assert log.count("event=reloaded") == 1


@pytest.mark.parametrize("fsync", ["always", "never"])
def test_a_disk_that_fails_at_a_sign_of_life_is_told_in_the_status(start, fsync, sockets, tmp_path):
    unit = start(["ipc", "changes"], "--fsync", fsync, WATCHDOG_USEC="300000")
    unit.read_until("WATCHDOG=1")
    journal = tmp_path / "data" / "journal.db-wal"
    journal.rename(tmp_path / "moved")
    said = unit.read_until("READ-ONLY")
    assert "STATUS=READ-ONLY: " in said[-1]
    assert "WATCHDOG=1" in said[-1]
