"""`--bench`: plausible figures of what it says, and no key left however it ends."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.kvsh_cases import KVSH, PATIENCE_S

from kvd.errors import Full, NoReply, Unreachable
from kvsh.modes import bench, bench_worker
from kvsh.modes.bench_messages import KEYS, WORKS, Outcome, Phase, Task
from kvsh.modes.bench_workers import LoadFailed, WorkerPool, combine, error_of, shares

MEASURED = [
    ("SET", 1, 50),
    ("GET", 1, 50),
    ("MULTIGET", 10, 50),
    ("INCR", 1, 50),
    ("SET", 1, 1),
    ("GET", 1, 1),
]


def test_json_says_what_was_measured(kvsh, kv):
    kv.set("mine", "x")
    code, out, messages = kvsh("--json", "--bench", "-i", "0.05")
    found = json.loads(out)
    assert code == 0
    assert "kvsh: client and daemon share this machine's " in messages
    assert {name: found[name] for name in ("fsync", "other_keys", "connections", "keys", "value_bytes", "seconds")} == {
        "fsync": "always",
        "other_keys": 1,
        "connections": 50,
        "keys": KEYS,
        "value_bytes": 100,
        "seconds": 0.05,
    }
    assert found["complete"]
    assert 1 <= found["processes"] <= 4
    measures = found["measures"]
    assert [(each["command"], each["keys"], each["connections"]) for each in measures] == MEASURED
    assert all(each["ops"] >= each["connections"] for each in measures)
    assert all(0 < each["p50_ms"] <= each["p99_ms"] <= each["max_ms"] for each in measures)
    assert all(each["ops_per_s"] <= each["ops"] / 0.05 for each in measures)


def test_the_daemon_counts_what_is_told_and_keeps_no_key(kvsh, kv):
    before = kv.info("traffic")["traffic"]["calls"]
    _, out, _ = kvsh("--json", "--bench", "-i", "0.05")
    calls = kv.info("traffic")["traffic"]["calls"]
    for command in ("SET", "GET", "MULTIGET", "INCR"):
        told = sum(each["ops"] for each in json.loads(out)["measures"] if each["command"] == command)
        assert calls[command] - before.get(command, 0) == told > 0
    assert list(kv.scan()) == []


def test_raw_is_a_table_and_csv_rows(kvsh):
    code, out, messages = kvsh("--bench", "-i", "0.02")
    rows = [line.split() for line in out.decode().splitlines()]
    assert (code, rows[0]) == (0, list(bench.NAMES))
    assert [(name, int(keys), int(connections)) for name, keys, connections, *_ in rows[1:]] == MEASURED
    assert ", fsync always, " in messages
    _, out, _ = kvsh("--csv", "--bench", "-i", "0.02")
    assert [line.count(b",") for line in out.split(b"\r\n")] == [7] * 7 + [0]


def test_at_a_terminal_it_tells_how_far_it_is(terminal):
    shell = terminal("--bench", "-i", "0.05")
    assert shell.wait_for_exit() == 0
    assert b"\r1 of 6: SET, 50 at a time" in shell.seen
    assert [line.split()[0] for line in shell.lines[-7:]] == ["command", "SET", "GET", "MULTIGET", "INCR", "SET", "GET"]


@pytest.fixture
def start_bench(kv, environment):
    """Return a function that starts a long bench, and returns when it measures."""

    def start(*options, url=None):
        address = ["--url", url] if url else []
        command = [*KVSH, *address, "--progress", *options, "--bench", "-i", "60"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        started.append(child)
        seen = b""
        while b"1 of 6" not in seen:
            seen += (chunk := child.stderr.read1())
            assert chunk, seen  # it has failed, and writes nothing more
        return child

    started = []
    yield start
    for child in started:
        child.kill()
        child.communicate()


def workers_of(child):
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent_of(path) == child.pid]


def parent_of(path):
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_a_signal_leaves_no_key(start_bench, kv, number, code):
    child = start_bench("--json")
    workers = workers_of(child)
    assert kv.count(f"kvsh-bench:{child.pid}:") >= KEYS
    child.send_signal(number)
    out, messages = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == code
    assert list(kv.scan()) == []
    assert b"Traceback" not in messages
    assert workers
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110
    if number == signal.SIGINT:
        assert (json.loads(out)["complete"], json.loads(out)["measures"]) == (False, [])
        assert messages.endswith(b"kvsh: interrupted; the keys are cleared\n")


def test_a_reader_that_goes_leaves_no_key(kv, environment):
    command = [*KVSH, "--raw", "--bench", "-i", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout.readline().startswith(b"command ")
        child.stdout.close()
        assert child.wait(PATIENCE_S) == -signal.SIGPIPE
        assert b"Traceback" not in child.stderr.read()
    assert list(kv.scan()) == []


def test_a_daemon_that_goes_is_told_and_the_keys_are_named(start_bench, make_daemon):
    daemon = make_daemon().start()
    child = start_bench("--timeout", "0.5", url=daemon.commands)
    daemon.kill()
    _, messages = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 3
    assert f"kvsh: keys may be left; to clear them: kvsh clearprefix kvsh-bench:{child.pid}:" in messages.decode()


def test_a_client_process_that_ends_is_told(start_bench, kv):
    child = start_bench()
    os.kill(workers_of(child)[0], signal.SIGKILL)
    _, messages = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 3
    assert b"kvsh: a client process exited by itself, with -9" in messages
    assert list(kv.scan()) == []


def task(url, **changed):
    given = {"timeout": 5.0, "connect_timeout": 5.0, "connections": 3, "prefix": "p:", "seed": 0, "curve": None}
    return Task(endpoint=url, **{**given, **changed})


def test_a_pool_shares_the_connections(kv, daemon):
    with WorkerPool(task(daemon), 2) as pool:
        outcome = pool.run(Phase("INCR", 3, 0.01))
        alone = pool.run(Phase("GET", 1, 0.01))
    assert sum(outcome.times.values()) == sum(int(value) for _, value in kv.items("p:n"))
    assert sum(alone.times.values()) > 0
    assert outcome.seconds >= 0.01
    assert [child.poll() is not None for child in pool.children] == [True, True]


def test_a_pool_whose_process_is_gone(kv, daemon):
    with WorkerPool(task(daemon), 2) as pool:
        pool.children[1].kill()
        pool.children[1].wait()
        with pytest.raises(LoadFailed, match="exited by itself"):
            pool.run(Phase("GET", 3, 0.01))


def test_a_pool_without_a_daemon():
    with pytest.raises(Unreachable), WorkerPool(task("ipc:///tmp/kvsh-none", connect_timeout=0.05), 1):
        raise AssertionError


def test_a_pool_is_told_what_the_daemon_refuses(kv, daemon):
    kv.multiset({b"p:n%05d" % number: b"no number" for number in range(KEYS)})
    with WorkerPool(task(daemon), 1) as pool, pytest.raises(Exception, match="WRONG_TYPE"):
        pool.run(Phase("INCR", 3, 5.0))
    kv.clear_prefix("p:")


def test_shares_are_even():
    assert shares(50, 4) == [13, 13, 12, 12]
    assert shares(1, 2) == [1, 0]


def test_what_several_did_together():
    assert combine([Outcome({5: 1}, 2.0), Outcome({5: 2, 7: 1}, 2.5)]) == Outcome({5: 3, 7: 1}, 2.5)


@pytest.mark.parametrize("error", [Unreachable("gone"), NoReply("late"), Full("no room")])
def test_an_error_comes_as_it_was(error):
    found = error_of(bench_worker.failure_of(error))
    assert (type(found), str(found)) == (type(error), str(error))


def test_commands_are_on_keys_of_the_prefix(daemon):
    random = bench_worker.Random(1)
    for work, make in WORKS.items():
        command = make(b"p:", random)
        assert command.command_name() == work
        keys = getattr(command, "keys", None) or [command.key]
        assert all(key.startswith(b"p:") for key in keys)


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("ipc:///run/kvd.sock", True),
        ("tcp://127.0.0.1:7411", True),
        ("tcp://[::1]:7411", True),
        ("tcp://localhost:7411", True),
        ("tcp://10.0.0.7:7411", False),
        ("tcp://[fe80::1]:7411", False),
    ],
)
def test_what_is_on_the_same_machine(url, is_same):
    assert bench.is_same_machine(url) is is_same
    caution = bench.cautions({"same_machine": is_same}, "p:")[0]
    assert ("network" in caution) is not is_same


def test_a_line_for_reading():
    values = dict(zip(bench.NAMES, ("MULTIGET", 10, 50, 99, 12345.6, 0.1, 1.25, 20.0), strict=True))
    expected = "MULTIGET of 10             50      12,346     0.100     1.250    20.000\n"
    assert bench.line_text(values).decode() == expected
