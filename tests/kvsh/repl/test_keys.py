"""Keys, and the display while typing: completion, hints, colours, suggestions, search, editor, vi."""

import os
import re
import signal

from support.terminal import say

SGR = re.compile(rb"\x1b\[[0-9;]*m")


def test_hints_shrink_and_are_gone_after_enter(shell):
    shell.type("expire ")
    shell.shows("data0> expire key seconds")
    shell.type("k ")
    shell.shows("data0> expire k seconds")
    shell.type("5\r")
    shell.shows("(integer) 0")
    assert "data0> expire k 5" in shell.lines


def test_an_unknown_command_is_red_before_enter(shell):
    shell.type("ge")
    shell.shows("data0> ge")
    assert shell.color_of("ge") == "default"
    shell.type("t")
    shell.shows("data0> get key")
    shell.until(lambda _: shell.color_of("get") == "green")
    shell.type("z")
    shell.shows("data0> getz")
    shell.until(lambda lines: lines[-1] == "data0> getz" and shell.color_of("getz") == "red")


def test_tab_completes_commands_options_and_live_keys(shell, kv):
    kv.set("user:1 x", "a")
    kv.set("user:2", "b")
    shell.type("persi\t")
    shell.shows("data0> persist key")
    shell.type("us\t")
    shell.until(lambda lines: any("user:1 x" in line for line in lines) and any("user:2" in line for line in lines))
    shell.type("\t")
    shell.shows('data0> persist "user:1 x" [REVISION n]')
    shell.type("\r")  # takes it
    shell.settle()
    assert shell.lines[-1] == 'data0> persist "user:1 x" [REVISION n]'
    shell.type("\r")  # runs it
    shell.shows("(integer) 0")
    shell.type("set k v keep\t")
    shell.shows("data0> set k v keepttl")


def test_keys_complete_as_words_that_mean_them(shell, kv):
    kv.set('a "q"\x00', "found")
    shell.type("get a\t")
    shell.shows(r'data0> get "a \"q\"\x00"')
    shell.type("\r")
    shell.shows('"found"')


def test_keys_already_there_are_not_offered_again(shell, kv):
    kv.set("ab1", "")
    kv.set("ab2", "")
    shell.type("clear ab1 \t")
    shell.until(lambda lines: [line.split() for line in lines[-2:]] == [["REVISION", "n"], ["ab2"]])


def test_a_daemon_that_hangs_does_not_hold_up_typing(shell, kv):
    pid = kv.info()["server"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        shell.type("get us\tabc")
        shell.shows("data0> get usabc")
        shell.shows("not connected> get usabc")
    finally:
        os.kill(pid, signal.SIGCONT)
    shell.shows("data0> get usabc")


def test_a_line_from_before_is_suggested_and_found(shell, kv):
    say(shell, "set city Ahmedabad")
    say(shell, "ping three")
    shell.type("set c")
    shell.until(lambda lines: "data0> set city Ahmedabad" in lines[-2:] and shell.color_of("ity") != "default")
    shell.shows("value [EX seconds")  # the hint is in the toolbar meanwhile
    shell.type("\x05\r")
    shell.until(lambda lines: lines.count("OK") == 2, "the suggestion taken")
    shell.prompts()
    shell.type("\x12hmed")
    shell.shows("set city Ahmedabad")
    shell.shows("reverse-i-search")
    shell.type("\r\r")
    shell.until(lambda lines: lines.count("OK") == 3, "the line that was found")
    shell.prompts()
    shell.prompts()
    shell.type("pi\x1b[A")
    shell.until(lambda lines: any(line.startswith("data0> ping three") for line in lines[-2:]))


def test_the_editor_edits_the_line_and_enter_runs_it(terminal, kv, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/old/new/; \\$a get a" "$1"\ntest ! -e "$0.fails"\n')
    editor.chmod(0o700)
    for options, keys in [([], "\x18\x05"), (["--vi"], "\x1bv")]:
        shell = terminal(*options, EDITOR=str(editor))
        shell.prompts()
        shell.type("watch\r")
        shell.shows("watching all")
        shell.type(b"set a old\xff" + keys.encode())
        shell.shows("2> get a")
        kv.clear("a")
        shell.type("\r")
        shell.shows(r'"new\xff"')
        shell.prompts()
        (tmp_path / "editor.fails").touch()
        shell.type("ping old" + keys)
        shell.settle()
        shell.type("\r")
        shell.shows('"old"')
        (tmp_path / "editor.fails").unlink()


def test_f1_explains_what_is_typed_or_the_keys(shell, kv):
    shell.type("\x1bOP")
    shell.shows("search the history")
    shell.type("persist k")
    shell.shows("persist k [REVISION n]")
    shell.type("\x1bOP")
    shell.shows("    PERSIST session")
    shell.type("\r")
    shell.shows("(integer) 0")


def test_a_command_is_repeated_until_ctrl_c(shell, kv):
    shell.type("every 0.01 incr n\r")
    shell.shows("(integer) 3")
    shell.type("\x03")
    shell.until(lambda lines: lines[-1] == "data0>")
    assert say(shell, "ping") == ['"PONG"']


def test_vi_keys(terminal, kv):
    shell = terminal("--vi")
    shell.prompts()
    shell.type("ping abx")
    shell.shows("ping abx")
    shell.type("\x1b")
    shell.until(lambda _: b"\x1b[2 q" in shell.seen, "the cursor of a mode in which letters are commands")
    shell.type("rcAd\r")
    shell.shows('"abcd"')
    shell.prompts()
    shell.type("\x1b")
    shell.settle()
    shell.type("k$rX")
    shell.until(lambda lines: lines[-1] == "data0> ping abcX")


def test_the_line_outlives_a_change_of_size(shell, kv):
    shell.type("set k 'a value of some le")
    shell.shows("a value of some le")
    for rows, columns in [(24, 20), (5, 60), (24, 80)]:
        shell.resize(rows, columns)
        shell.settle()
    shell.type("ngth'\r")
    shell.shows("OK")
    assert kv.get("k") == b"a value of some length"


def test_no_color_sends_nothing_for_looks(terminal, kv):
    kv.set("k1", "v")
    kv.set("k2", "v")
    for options, variables in [([], {"NO_COLOR": "1"}), (["--no-color"], {}), (["--no-color", "--vi"], {})]:
        shell = terminal(*options, **variables)
        shell.prompts()
        shell.type("bogus\r")
        shell.shows("(error) there is no command")
        shell.type("watch\r")
        shell.shows("· revision")
        shell.type("get k\t")
        shell.shows("k2")
        shell.type("\t\r\r")
        shell.shows('"v"')
        shell.type('clearprefix ""\r')
        shell.shows("[y/N]")
        shell.type("n\r")
        shell.type("\x1b[200~ping\nping\x1b[201~\r")
        shell.shows("2/2> ping")
        assert SGR.findall(shell.seen) == []
        assert b" q" not in shell.seen.replace(b"a q", b"")
    colored = terminal()
    colored.type("bogus\r")
    colored.shows("(error) there is no command")
    assert colored.color_of("(error)") == "red"
