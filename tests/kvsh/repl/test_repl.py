"""The prompt on a real pty: what a person types and what the screen shows."""

import os
import pty
import signal
import subprocess

from support.kvsh_cases import KVSH
from support.terminal import long_command, say

from kvd.client import Client
from kvsh.cli.local import local_daemon


def test_commands_and_answers(shell, kv):
    assert say(shell, 'set city "Rann of Kutch"') == ["OK"]
    assert say(shell, "get city") == ['"Rann of Kutch"']
    assert say(shell, "incr n") == ["(integer) 1"]
    assert say(shell, "gte city") == ['(error) there is no command "gte": did you mean GETEX or GET?']
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
    assert shell.wait_for_exit() == 0
    assert kv.get("city") == b"Rann of Kutch"


def test_pretty_results(shell, kv, tmp_path):
    kv.set("doc", '{"a":1}')
    assert say(shell, "format pretty") == ["format is PRETTY"]
    assert say(shell, "get doc") == ["{", '  "a": 1', "}"]
    assert shell.color_of('"a"') == "blue"
    say(shell, f"get doc > {tmp_path}/doc")
    assert (tmp_path / "doc").read_bytes() == b'{"a":1}\n'
    kv.set("doc", b"\x1b[2J\xff")
    assert say(shell, "get doc")[0].startswith("00000000  1b 5b 32 4a ff")


def test_what_took_long_says_how_long(shell, kv):
    assert len(say(shell, "ping")) == 1
    assert say(shell, long_command(kv, 500))[-1].endswith(" s)")


def test_values_do_not_act_on_the_terminal(shell, kv, tmp_path):
    kv.set("k", b"\x1b[2J\x07")
    assert say(shell, "get k") == [r'"\x1b[2J\a"']
    say(shell, "format raw")
    assert say(shell, "get k") == [r"\x1b[2J\x07"]
    (tmp_path / "s.kv").write_text("get k\n")
    assert say(shell, f"source {tmp_path}/s.kv") == [r"\x1b[2J\x07"]


def test_bytes_that_are_no_text_are_typed_and_kept(shell, kv):
    shell.type(b"set k \xff\xfe\r")
    shell.shows("OK")
    shell.type("\x10\r")
    shell.until(lambda lines: lines.count("OK") == 2, "the line again from the history")
    assert kv.get("k") == b"\xff\xfe"


def test_clear_screen(shell):
    say(shell, "ping")
    shell.type("clear-screen\r")
    shell.until(lambda lines: lines == ["data0>"])


def test_a_profile_has_its_name_and_colour_in_the_prompt(terminal, daemon, configure):
    configure(f'[profiles.production]\nurl = "{daemon}"\ncolor = "red"\n')
    shell = terminal("--profile", "production", KVSH_URL="")
    shell.shows("production>")
    assert shell.color_of("production") == "red"
    assert shell.color_of(">") == "default"


def test_a_transaction_is_gathered_and_sent(shell, kv):
    shell.type("begin\r")
    shell.shows("data0(tx:0)>")
    shell.type("set a 1\rincr a\rping\r")
    shell.shows("PING cannot be part of a transaction")
    shell.shows("data0(tx:2)>")
    assert kv.get("a") is None
    assert say(shell, "commit") == ["1) OK", "2) (integer) 2"]
    assert kv.get("a") == b"2"


def test_leaving_within_begin_asks(shell, kv):
    shell.type("begin\rset a 9\r")
    shell.until(lambda lines: lines[-1] == "data0(tx:1)>")
    shell.type("\x04")
    shell.shows("leave, and discard the commands since BEGIN? [y/N]")
    shell.type("n\r")
    assert say(shell, "discard") == ["discarded 1 command"]
    assert say(shell, "commit") == ["(error) there is no BEGIN before this"]
    shell.type("begin\r")
    shell.until(lambda lines: lines[-1] == "data0(tx:0)>")
    shell.type("\x04")
    shell.until(lambda lines: sum("leave, and" in line for line in lines) == 2)
    shell.type("\x04")
    assert shell.wait_for_exit() == 0
    assert kv.get("a") is None


def test_clearing_everything_asks_first(shell, kv):
    kv.set("a", "1")
    for answer in ("\r", "\x03", "\x04"):
        asked = sum("delete ALL keys (1 key)? [y/N]" in line for line in shell.lines)
        shell.type('clearprefix ""\r')
        shell.until(
            lambda lines, asked=asked: sum("delete ALL keys (1 key)? [y/N]" in line for line in lines) == asked + 1
        )
        shell.type(answer)
        shell.prompts()
        assert kv.get("a") == b"1"
    shell.type('clearprefix ""\r')
    shell.until(lambda lines: sum("delete ALL keys" in line for line in lines) == 4)
    shell.type("y\r")
    shell.shows("(integer) 1")


def test_clearing_many_keys_asks_with_their_count(shell, kv):
    kv.multiset({f"user:{number}": "x" for number in range(12)})
    shell.type("clearprefix user:\r")
    shell.shows('delete 12 keys with the prefix "user:"? [y/N]')
    shell.type("n\r")
    shell.prompts()
    assert kv.count("user:") == 12
    assert say(shell, "clearprefix nobody:") == ["(integer) 0"]
    assert say(shell, "clear user:0 user:1") == ["(integer) 2"]
    shell.type("clear " + " ".join(f"user:{number}" for number in range(10)) + "\r")
    shell.shows("delete 10 keys? [y/N]")
    shell.type("y\r")
    shell.shows("(integer) 8")


def test_without_a_daemon_the_prompt_says_so_and_commit_keeps_what_was_gathered(terminal, tmp_path):
    endpoint = f"ipc://{tmp_path}/data0/kvd.sock"
    shell = terminal("--timeout", "0.2", KVSH_URL=endpoint)
    shell.shows("not connected>")
    shell.type("get a\r")
    shell.shows("(error) GET: no daemon answers at ipc://")
    shell.type("begin\rset a 1\rcommit\r")
    shell.shows("the transaction is still open: COMMIT again, or DISCARD")
    shell.shows("not connected(tx:1)>")
    with local_daemon(str(tmp_path / "data0")), Client(endpoint) as kv:
        shell.shows("data0(tx:1)>")
        shell.type("commit\r")
        shell.shows("1) OK")
        assert kv.get("a") == b"1"


def test_a_daemon_killed_in_mid_command_is_told_and_found_again(terminal, tmp_path):
    with local_daemon(str(tmp_path / "data0")) as endpoint, Client(endpoint, timeout=30) as kv:
        shell = terminal(KVSH_URL=endpoint)
        shell.prompts()
        assert say(shell, "ping") == ['"PONG"']  # it has a connection
        pid = kv.info("server")["server"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        shell.type("begin\rset a 1\r")
        shell.until(lambda lines: lines[-1] == "data0(tx:1)>")
        shell.runs("commit")
        os.kill(pid, signal.SIGKILL)
        shell.shows("it may have been executed")
        shell.shows("the transaction is closed: 1 command dropped")
        assert kv.get("b") is None  # it is back
        shell.shows("data0>")
        assert say(shell, "set b 1") == ["OK"]


def test_source_runs_a_script(shell, kv, tmp_path):
    path = tmp_path / "s.kv"
    path.write_text("set a 1\nget a\nget\n")
    answer = say(shell, f"source {path}")
    assert answer[:2] == ["OK", '"1"']
    assert answer[-1] == "kvsh: 1 of 3 commands failed (first at line 3)"
    assert say(shell, "source /none") == ["(error) cannot read /none: No such file or directory"]


def test_results_go_to_programs_and_files(shell, kv, tmp_path):
    kv.set("k", "b\na\n")
    path = tmp_path / "out"
    assert say(shell, "get k | sort | tr a-z A-Z") == ["A", "B"]
    for line, count in ((f"get k > {path}", 5), (f"incr n >> {path}", 2)):
        assert "".join(say(shell, line)).startswith(f'{count} bytes written to "/')
    assert path.read_bytes() == b"b\na\n\n1\n"
    assert say(shell, "get k > /nowhere/x") == ["(error) cannot write /nowhere/x: No such file or directory"]
    assert say(shell, r'get k > "a\x00"') == ["(error) cannot write a file with a NUL byte in its name"]
    assert say(shell, "get k |") == ["(error) | is followed by a program"]
    assert say(shell, "help get | head -1") == ["GET key"]
    assert say(shell, "3 incr n") == ["(integer) 2", "(integer) 3", "(integer) 4"]


def test_a_program_that_reads_nothing_does_no_harm(shell, kv):
    kv.set("big", b"x" * 5_000_000)
    assert say(shell, "get big | true") == []
    assert say(shell, "get big | head -c 3; echo") == ["xxx"]
    assert say(shell, "ping") == ['"PONG"']


def test_a_file_that_nobody_reads_does_not_hold_the_shell(shell, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    shell.runs(f"ping > {tmp_path}/pipe")
    shell.interrupts()
    assert say(shell, "ping") == ['"PONG"']
    shell.type("quit\r")
    assert shell.wait_for_exit() == 0


def test_a_pasted_block_tells_its_lines_and_stops_at_the_first_error(shell, kv):
    kv.set("text", "x")
    shell.type("\x1b[200~set a 1\nBEGIN\nincr a\n# or so\n\nCOMMIT\nincr text\nset a 9\n# it's\nget a\n\x1b[201~")
    shell.shows("10> get a")
    assert kv.get("a") is None
    shell.type("\r")
    shell.shows("stopped at line 7")
    lines = shell.prompts()
    assert lines[lines.index("1/10> set a 1") :] == [
        "1/10> set a 1",
        "OK",
        "2/10> BEGIN",
        "3/10> incr a",
        "6/10> COMMIT",
        "1) (integer) 2",
        "7/10> incr text",
        "(error) WRONG_TYPE: the value is not a 64-bit integer (1 bytes)",
        "(error) stopped at line 7 of 10: 2 commands after it did not run",
        "data0>",
    ]
    assert kv.get("a") == b"2"


def test_a_pasted_block_is_checked_whole_before_its_first_line_runs(shell, kv):
    kv.set("doc", "old")
    for block, error in [
        ('set doc {\n"a": 1\n}', "(error) line 2 of 3: a closing quote is followed by a blank"),
        ("set doc 1\nbegin\nping", "(error) line 3 of 3: PING cannot be part of a transaction"),
    ]:
        shell.type(f"\x1b[200~{block}\x1b[201~\r")
        shell.shows(error)
        shell.prompts()
    shell.shows("(error) nothing of this block has run. Put a value of several lines in quotes")
    assert kv.get("doc") == b"old"


def test_a_value_of_several_lines_is_pasted(shell, kv):
    shell.type("\x1b[200~set doc '{\n  \"a\": 1\n}' ex 60\nget doc\x1b[201~\r")
    shell.shows("1-3/4> set doc '{")
    shell.shows(r'"{\n  \"a\": 1\n}"')
    assert kv.get("doc") == b'{\n  "a": 1\n}'


def test_enter_within_an_open_quote_continues_the_value(shell, kv):
    shell.type("set doc 'one\r")
    shell.shows("a quote is open: Enter adds a line, Ctrl-C drops all lines")
    shell.until(lambda lines: lines[-2].strip() == '">')
    shell.type("two\r\rfour' e")
    shell.shows("\"> four' ex seconds")
    assert kv.get("doc") is None
    shell.type("\x7f\r")
    shell.shows("OK")
    assert kv.get("doc") == b"one\ntwo\n\nfour"
    shell.prompts()
    shell.type("\x1b[A")
    shell.shows("\"> four'")
    shell.type("\r")
    shell.until(lambda lines: lines.count("OK") == 2, "the value again, from the history")
    shell.type("get 'x\r")
    shell.shows("a quote is open")
    shell.type("\x03")
    assert say(shell, "get doc") == [r'"one\ntwo\n\nfour"']


def test_a_pasted_block_ends_with_quit_and_with_a_script_that_fails(shell, kv, tmp_path):
    (tmp_path / "s.kv").write_text("get\n")
    shell.type(f"\x1b[200~source {tmp_path}/s.kv\nset a 1\x1b[201~\r")
    shell.shows("stopped at line 1 of 2: 1 command after it did not run")
    shell.type("\x1b[200~quit\nset a 1\x1b[201~\r")
    assert shell.wait_for_exit() == 0
    assert kv.get("a") is None


def test_a_closed_output_is_an_error_and_no_prompt(environment):
    _, terminal = pty.openpty()
    environment = {**environment, "TERM": "xterm"}
    done = subprocess.run(
        ["sh", "-c", '"$0" >&-', *KVSH], stdin=terminal, stderr=subprocess.PIPE, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (74, b"kvsh: Bad file descriptor\n")
