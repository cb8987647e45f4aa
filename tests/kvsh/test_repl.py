"""The prompt on a real pty: what a person types and what the screen shows."""

import os
import signal
import stat
import time

import pytest
from conftest_kvsh import PATIENCE_S

from kvd.client import Client
from kvsh.cli.local import local_daemon

PROMPT = "data0> "


def is_prompting(lines):
    """Return whether the prompt waits for a line: nothing but the toolbar is below it."""
    last = next((line for line in reversed(lines[-2:]) if line.startswith("data0")), "")
    return last.endswith(">")


@pytest.fixture
def shell(terminal):
    """Return kvsh at its first prompt."""
    started = terminal()
    started.until(is_prompting, "the prompt")
    return started


def say(shell, line):
    """Type a line and Enter; wait for the next prompt; return the lines of the answer."""
    before = sum(typed in text for text in shell.lines for typed in [f"> {line}"])
    shell.type(line + "\r")
    lines = shell.until(
        lambda lines: sum(f"> {line}" in text for text in lines) > before and is_prompting(lines),
        f"the answer to {line}",
    )
    start = max(at for at, text in enumerate(lines) if f"> {line}" in text)
    end = max(at for at, text in enumerate(lines) if text.startswith("data0") and text.endswith(">"))
    return lines[start + 1 : end]


def test_commands_and_answers(shell, kv):
    assert say(shell, 'set city "Rann of Kutch"') == ["OK"]
    assert say(shell, "get city") == ['"Rann of Kutch"']
    assert say(shell, "incr n") == ["(integer) 1"]
    assert say(shell, "gte city") == ['(error) there is no command "gte": did you mean GET?']
    assert say(shell, "incr city")[0].startswith("(error) WRONG_TYPE: the value is not a 64-bit integer")
    assert say(shell, "format json") == ["format is JSON"]
    assert say(shell, "get city") == ['"Rann of Kutch"']
    assert say(shell, "format raw") == ["format is RAW"]
    assert say(shell, "get city") == ["Rann of Kutch"]
    assert say(shell, "format") == ["format is RAW"]
    assert say(shell, "help get")[0] == "GET key"
    assert say(shell, "timing on") == ["timing is ON"]
    assert say(shell, "ping")[-1].endswith(" s)")
    shell.type("quit\r")
    assert shell.ended() == 0
    assert kv.get("city") == b"Rann of Kutch"


def test_values_do_not_act_on_the_terminal(shell, kv):
    kv.set("k", b"\x1b[2J\x07")
    assert say(shell, "get k") == [r'"\x1b[2J\a"']
    say(shell, "format raw")
    assert say(shell, "get k") == [r"\x1b[2J\x07"]


def test_hints_shrink_and_are_gone_after_enter(shell):
    shell.type("expire ")
    shell.shows("data0> expire key seconds")
    shell.type("k ")
    shell.shows("data0> expire k seconds")
    shell.type("5\r")
    shell.shows("(integer) 0")
    assert "data0> expire k 5" in shell.lines


def test_tab_completes_commands_options_and_live_keys(shell, kv):
    kv.set("user:1 x", "a")
    kv.set("user:2", "b")
    shell.type("persi\t")
    shell.shows("data0> persist key")
    shell.type(" user:\t")
    shell.until(lambda lines: any("user:1 x" in line for line in lines) and any("user:2" in line for line in lines))
    shell.type("\t")
    shell.shows('data0> persist "user:1 x"')
    shell.type("\r")
    shell.shows("(integer) 0")
    shell.type("set k v keep\t")
    shell.shows("data0> set k v keepttl")


def test_a_daemon_that_hangs_does_not_hold_up_typing(shell, kv):
    pid = kv.info()["server"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        shell.type("get us\tabc")
        shell.shows("data0> get usabc")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_transaction_is_gathered_and_sent(shell, kv):
    shell.type("begin\r")
    shell.shows("data0(tx:0)>")
    shell.type("set a 1\rincr a\rping\r")
    shell.shows("PING cannot be part of a transaction")
    shell.shows("data0(tx:2)>")
    assert kv.get("a") is None
    assert say(shell, "commit") == ["1) OK", "2) (integer) 2"]
    assert kv.get("a") == b"2"
    shell.type("begin\rset a 9\r")
    shell.until(lambda lines: lines[-1] == "data0(tx:1)>")
    shell.type("\x04")
    shell.shows("leave, and discard what was gathered since BEGIN? [y/N]")
    shell.type("n\r")
    assert say(shell, "discard") == ["discarded 1 commands"]
    assert say(shell, "commit") == ["(error) there is no BEGIN before this"]
    assert kv.get("a") == b"2"


def test_clearing_everything_asks_first(shell, kv):
    kv.set("a", "1")
    shell.type('clearprefix ""\r')
    shell.shows("end ALL keys? [y/N]")
    shell.type("\r")
    shell.until(is_prompting)
    assert kv.get("a") == b"1"
    shell.type('clearprefix ""\r')
    shell.until(lambda lines: sum("end ALL keys" in line for line in lines) == 2)
    shell.type("y\r")
    shell.shows("(integer) 1")


def test_ctrl_c_clears_the_line_and_ctrl_d_leaves(shell):
    shell.type("set half a")
    shell.shows("data0> set half a")
    shell.type("\x03")
    shell.until(is_prompting)
    shell.type("\x03\x03")
    assert say(shell, "ping") == ['"PONG"']
    shell.type("\x04")
    assert shell.ended() == 0


def test_ctrl_c_during_a_command_returns_to_the_prompt(shell, kv):
    shell.type("changes 0 nothing-here wait 60000\r")
    kv.set("waited", "x")
    limit = time.monotonic() + PATIENCE_S
    while not kv.info()["traffic"]["waiting"]:
        assert time.monotonic() < limit
    shell.type("\x03")
    shell.shows("(interrupted")
    assert say(shell, "get waited") == ['"x"']


def test_watch_shows_changes_above_a_half_typed_line(shell, kv):
    shell.type('watch user: "a b"\r')
    shell.shows('watching "user:" "a b" from revision')
    shell.type("set half ty")
    shell.shows("> set half ty")
    kv.set("user:1", "Ada")
    kv.set("other", "no")
    kv.clear("user:1")
    shell.shows("CLEAR user:1")
    lines = shell.until(lambda lines: lines[-1].startswith('watching "user:" "a b" · revision'), "the toolbar")
    assert any('SET user:1 "Ada"' in line for line in lines)
    assert not any("other" in line for line in lines)
    assert any(line.startswith("data0> set half ty") for line in lines[-2:])
    shell.type("ped\r")
    shell.shows("OK")
    assert kv.get("half") == b"typed"
    assert say(shell, "unwatch") == []
    assert not any("· revision" in line for line in shell.lines)


def test_a_flood_is_coalesced_and_says_so(shell, kv):
    shell.type("watch\r")
    shell.shows("watching all keys from revision")
    with kv.pipeline() as pipeline:
        for number in range(5000):
            pipeline.set(f"k{number}", "v")
    shell.shows("changes not shown")
    shell.shows("SET k4999")
    shell.type("get k1")
    shell.shows("> get k1")


def test_a_watch_goes_on_after_a_restart_and_loses_nothing(terminal, tmp_path):
    directory = str(tmp_path / "data0")
    with local_daemon(directory) as endpoint:
        shell = terminal(KVSH_URL=endpoint)
        shell.type("watch\r")
        shell.shows("watching all keys from revision 0")
    shell.shows("watch: disconnected")
    with local_daemon(directory) as endpoint:
        with Client(endpoint) as kv:
            kv.set("after", "restart")
        shell.shows('SET after "restart"')
        shell.shows("watch: reconnected")


def test_without_a_daemon_the_prompt_says_so(terminal, tmp_path):
    shell = terminal("--timeout", "0.2", KVSH_URL=f"ipc://{tmp_path}/data0/none")
    shell.shows("not connected>")
    shell.type("get a\r")
    shell.shows("no daemon answers at ipc://")
    with local_daemon(str(tmp_path / "data0")):
        pass


def test_the_history_is_private_and_keeps_what_may_be_kept(shell, environment):
    say(shell, "ping one")
    say(shell, "ping one")
    shell.type(" ping secret\r")
    shell.shows('"secret"')
    say(shell, "ping two")
    shell.type("\x10\x10")
    shell.shows("data0> ping one")
    path = os.path.join(environment["XDG_STATE_HOME"], "kvsh", "history")  # noqa: PTH118
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116
    with open(path) as file:  # noqa: PTH123
        assert [line for line in file if line.startswith("+")] == ["+ping one\n", "+ping two\n"]


def test_a_pasted_block_runs_up_to_the_first_error(shell, kv):
    shell.type("\x1b[200~set a 1\nincr a\nbogus\nset a 9\n\x1b[201~\r")
    shell.shows('there is no command "bogus"')
    shell.until(is_prompting)
    assert kv.get("a") == b"2"


def test_source_runs_a_script(shell, kv, tmp_path):
    path = tmp_path / "s.kv"
    path.write_text("set a 1\nget a\nget\n")
    answer = say(shell, f"source {path}")
    assert answer[:2] == ["OK", '"1"']
    assert answer[-1] == "kvsh: 1 of 3 commands failed (first at line 3)"
    assert say(shell, "source /none") == ["(error) cannot read /none: No such file or directory"]


def test_no_color_means_none(terminal):
    shell = terminal(NO_COLOR="1")
    shell.type("bogus\r")
    shell.shows("(error) there is no command")
    assert b"\x1b[31m" not in shell.seen
    assert b"[0;31" not in shell.seen
    colored = terminal()
    colored.type("bogus\r")
    colored.shows("(error) there is no command")
    assert b"31" in colored.seen


def test_a_poor_terminal_gets_a_plain_reader(terminal):
    shell = terminal(TERM="dumb")
    shell.shows("kvd>")
    shell.type("set a 1\r")
    shell.shows("OK")
    shell.type("get\r")
    shell.shows("(error) GET needs the key")
    shell.type("begin\r")
    shell.shows("kvd(tx:0)>")
    shell.type("incr a\rcommit\r")
    shell.shows("(integer) 2")
    shell.type("get half\x03")
    shell.until(lambda lines: "^C" in lines[-2] and lines[-1] == "kvd>")
    shell.type("get a\r")
    shell.shows('"2"')
    shell.type("\x04")
    assert shell.ended() == 0
    assert b"\x1b" not in shell.seen


def test_results_go_to_programs_and_files(shell, kv, tmp_path):
    kv.set("k", "b\na\n")
    path = tmp_path / "out"
    assert say(shell, "get k | sort | tr a-z A-Z") == ["A", "B"]
    assert say(shell, f"get k > {path}") == []
    assert say(shell, f"incr n >> {path}") == []
    assert path.read_bytes() == b"b\na\n\n1\n"
    assert say(shell, "get k > /nowhere/x") == ["(error) cannot write /nowhere/x: No such file or directory"]
    assert say(shell, "3 incr n") == ["(integer) 2", "(integer) 3", "(integer) 4"]
