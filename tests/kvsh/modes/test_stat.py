"""`--stat`: exact rates from two samples, and lines that outlast the daemon."""

import json
import signal
import subprocess

import pytest
from support.kvsh_cases import KVSH, PATIENCE_S

from kvsh.modes import stat as stat_module
from kvsh.modes.stat import HEAD_EVERY, TITLES, Sample, Stat, figures, line_text
from kvsh.ui.settings import Settings

NAMES = [
    "time",
    "keys",
    "ops_per_s",
    "writes_per_s",
    "changes_per_s",
    "errors_per_s",
    "memory_bytes",
    "clients",
    "watchers",
]


def sample(at, calls, revision=0, errors=0):
    store = {"keys": 12_345, "revision": revision}
    traffic = {"calls": calls, "errors": errors, "clients": 3}
    return Sample(
        at, 1_700_000_000_000, {"store": store, "traffic": traffic, "server": {}, "process": {"memory_bytes": 1024}}
    )


def test_figures_are_differences_a_second_without_our_own_info():
    before = sample(10.0, {"GET": 5, "INFO": 1}, revision=7, errors=1)
    after = sample(12.0, {"GET": 25, "SET": 10, "TRANSACTION": 4, "PING": 3, "INFO": 4, "NEWER": 1}, 107, errors=2)
    assert figures(before, after, own_infos=1) == {
        "time": 1_700_000_000_000,
        "keys": 12_345,
        "ops_per_s": 20.0,  # 20 GET, 10 SET, 4 TRANSACTION, 3 PING, 2 INFO of others, 1 NEWER
        "writes_per_s": 7.0,
        "changes_per_s": 50.0,
        "errors_per_s": 0.5,
        "memory_bytes": 1024,
        "clients": 3,
        "watchers": None,
    }


class BrokenOff:
    """An output that Ctrl-C interrupts at its first line."""

    def __init__(self):
        self.messages = []

    def data(self, _):
        raise KeyboardInterrupt

    def message(self, text):
        self.messages.append(text)


class Answers:
    """A client with one more SET in each INFO."""

    def __init__(self):
        self.count = 0

    def run(self, _):
        self.count += 1
        server = {"pid": 1, "uptime_ms": self.count}
        return sample(0.0, {"SET": self.count, "INFO": self.count}).info | {"server": server}


def test_ctrl_c_while_the_first_line_is_written_still_shows_the_averages():
    output = BrokenOff()
    stat = Stat(Answers(), Settings("tcp://127.0.0.1:1", 1, form="raw"), output)
    stat.first = stat.last = stat_module._sample(stat.client)
    with pytest.raises(KeyboardInterrupt):
        stat._take_sample()
    stat.summarize()
    assert "on average" in "".join(output.messages)


def test_a_line_for_reading():
    values = figures(sample(0.0, {}), sample(1.0, {"SET": 1_234_567, "INFO": 1}), own_infos=1)
    assert line_text(values).split()[1:] == b"12,345 1,234,567 1,234,567 0 0 1.0 KiB 3 -".split()


def test_lines_fit_eighty_columns_under_their_titles():
    line = line_text(figures(sample(0.0, {}), sample(1.0, {"GET": 99_999}), own_infos=0)).decode().rstrip("\n")
    assert (len(TITLES), len(line)) == (80, 80)
    assert TITLES.index("ops/s") + len("ops/s") == line.index("99,999") + len("99,999")


def test_what_nobody_asks_is_nothing(kvsh):
    code, out, _ = kvsh("--json", "--stat", "-r", "3", "-i", "0.02")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [list(line) for line in lines]) == (0, [NAMES] * 3)
    assert [line["ops_per_s"] for line in lines] == [0.0] * 3


@pytest.mark.parametrize(("form", "between", "end"), [("--raw", " ", "\n"), ("--csv", ",", "\r\n")])
def test_programs_get_the_names_once_and_plain_numbers(kvsh, form, between, end):
    code, out, messages = kvsh(form, "--stat", "-r", str(HEAD_EVERY + 1), "-i", "0.001")
    head, *lines = out.decode().split(end)
    assert (code, head, messages) == (0, between.join(NAMES), "")
    assert lines.pop() == ""
    assert len(lines) == HEAD_EVERY + 1
    assert all(field in ("-", "") or float(field) >= 0 for line in lines for field in line.split(between))
    assert {len(line.split(between)) for line in lines} == {len(NAMES)}


def test_at_a_terminal_the_names_come_again(terminal):
    shell = terminal("--stat", "-r", str(2 * HEAD_EVERY + 1), "-i", "0.001")
    assert shell.wait_for_exit() == 0
    lines = shell.seen.decode().splitlines()
    heads = [at for at, line in enumerate(lines) if "writes/s" in line]
    assert heads == [0, HEAD_EVERY + 1, 2 * HEAD_EVERY + 2]


def until(lines, condition):
    return next(document for document in map(json.loads, lines) if condition(document))


def test_work_is_seen_and_ctrl_c_sums_it_up(kv, environment):
    command = [*KVSH, "--json", "--stat", "-i", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        child.stdout.readline()
        for number in range(20):
            kv.set(b"%d" % number, "x")
        seen = until(child.stdout, lambda line: line["keys"] == 20)
        assert seen["writes_per_s"] == seen["changes_per_s"] == seen["ops_per_s"] > 0
        assert seen["memory_bytes"] > 0
        child.send_signal(signal.SIGINT)
        _, messages = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 130
        assert messages.startswith(b"kvsh: in ")
        assert b" ops/s, " in messages


def test_it_outlasts_the_daemon(make_daemon, environment):
    daemon = make_daemon().start()
    command = [*KVSH, "--url", daemon.commands, "--timeout", "0.3", "--json", "--stat", "-i", "0.02"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        child.stdout.readline()
        daemon.kill()
        assert child.stderr.readline().startswith(b"kvsh: disconnected: INFO: no ")
        daemon.start()
        message = child.stderr.readline()
        assert message.startswith(b"kvsh: reconnected after ")
        assert message.endswith(b" s: the daemon has been restarted\n")
        with daemon.client() as kv:
            kv.set("a", "b")
        assert until(child.stdout, lambda line: line["keys"] == 1)["ops_per_s"] >= 0
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE_S) == 130
        assert b"no " not in child.stderr.read()


def test_a_daemon_that_hangs_is_told_once_and_is_not_restarted(make_daemon, environment):
    daemon = make_daemon().start()
    command = [*KVSH, "--url", daemon.commands, "--timeout", "0.1", "--json", "--stat", "-i", "0.02"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        child.stdout.readline()
        daemon.signal(signal.SIGSTOP)
        assert child.stderr.readline().startswith(b"kvsh: disconnected: INFO: no ")
        daemon.signal(signal.SIGCONT)
        message = child.stderr.readline()
        assert message.startswith(b"kvsh: reconnected after ")
        assert b"restarted" not in message
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE_S) == 130
