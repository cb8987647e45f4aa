"""WATCH above the prompt, on a pty: the line being typed stays intact, and nothing is lost or untold."""

import re

import pytest
from support.terminal import say

from kvd.client import Client
from kvsh.cli.local import local_daemon


@pytest.fixture
def watch_shell(shell):
    """Return a shell that watches all keys."""
    shell.type("watch\r")
    shell.shows("watching all keys from revision")
    shell.prompts()
    return shell


def flood(kv, count):
    with kv.pipeline() as pipeline:
        for number in range(count):
            pipeline.set(f"k{number % 50}", str(number))


def count_changes(shell):
    """Return how many changes were shown, and how many were said not to be."""
    hidden = [int(count) for count in re.findall(rb"\.\.\. (\d+) changes? not shown", shell.seen)]
    return len(re.findall(rb"\d+  (?:\x1b\[32m)?SET(?:\x1b\[0m)? k\d+ ", shell.seen)), sum(hidden)


def test_changes_appear_above_a_half_typed_line(shell, kv):
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
    assert any(re.match(r"\d\d:\d\d:\d\d  *\d+  SET user:1", line) for line in lines)
    assert (shell.color_of("SET user:1"), shell.color_of("CLEAR user:1")) == ("green", "red")
    assert not any("other" in line for line in lines)
    assert any(line.startswith("data0> set half ty") for line in lines[-2:])
    shell.type("ped\r")
    shell.shows("OK")
    assert kv.get("half") == b"typed"
    assert say(shell, "unwatch")[0].startswith("watched up to revision ")
    assert not any("· revision" in line for line in shell.lines)


def test_since_shows_what_was_before_and_a_second_watch_ends_the_first(shell, kv):
    revision = kv.info("server")["server"]["revision"]
    kv.set("one", "1")
    shell.type(f"watch one since {revision}\r")
    shell.shows('SET one "1"')
    shell.type("watch two\r")
    shell.shows('watching "two" from revision')
    kv.set("one", "after")
    kv.set("two", "2")
    shell.shows('SET two "2"')
    assert not any("after" in line for line in shell.lines)


def test_of_a_flood_all_is_shown_or_counted(watch_shell, kv):
    watch_shell.type("get k1")
    flood(kv, 5000)
    watch_shell.until(lambda _: sum(count_changes(watch_shell)) >= 5000, "all of the flood")
    shown, hidden = count_changes(watch_shell)
    assert shown + hidden == 5000
    assert shown < 500
    watch_shell.until(lambda lines: lines[-3:-1] == [lines[-3], "data0> get k1"] and 'SET k49 "4999"' in lines[-3])


def test_lines_and_answers_are_whole_under_a_flood(terminal, kv):
    shell = terminal(size=(1000, 100))  # on a slow machine more lines come between two answers
    shell.prompts()
    shell.type("watch\r")
    shell.shows("watching all keys from revision")
    flood(kv, 2000)
    for number in range(10):
        flood(kv, 100)
        shell.prompts()  # what is typed between two prompts is echoed by the terminal itself
        shell.type(f'ping "answer {number}"\r')
        shell.until(lambda lines, number=number: f'"answer {number}"' in lines)
    answers = [line for line in shell.lines if "answer" in line]
    assert answers == [line for n in range(10) for line in (f'data0> ping "answer {n}"', f'"answer {n}"')]


def test_the_line_and_the_watch_outlive_a_change_of_size(watch_shell, kv):
    watch_shell.type('set some "a value that is long')
    watch_shell.shows('> set some "a value that is')
    for rows, columns in [(12, 20), (30, 100), (24, 80)]:
        watch_shell.resize(rows, columns)
        kv.set(f"at{columns}", "x")
        watch_shell.until(lambda _, columns=columns: f' at{columns} "x"'.encode() in watch_shell.seen)
    watch_shell.settle()
    watch_shell.type('er"\r')
    watch_shell.shows("OK")
    assert kv.get("some") == b"a value that is longer"


def test_a_restart_of_the_daemon_is_one_line_and_loses_nothing(terminal, tmp_path):
    directory = str(tmp_path / "data0")
    with local_daemon(directory) as endpoint:
        shell = terminal(KVSH_URL=endpoint)
        shell.type("watch\r")
        shell.shows("watching all keys from revision 0")
    shell.shows("watching all keys · revision 0 · disconnected")
    with local_daemon(directory) as endpoint:
        with Client(endpoint) as kv:
            kv.set("after", "restart")
        shell.shows('SET after "restart"')
        shell.until(lambda lines: lines[-1] == "watching all keys · revision 1")
    lines = [line for line in shell.lines if line.startswith("watch: ")]
    assert len(lines) == 1
    assert re.fullmatch(r"watch: reconnected after \d+\.\d s; nothing is missed", lines[0])
    assert shell.leave() == 0


def test_a_watch_that_cannot_begin_is_an_error(shell, kv):
    flood(kv, 10)
    kv.compact(kv.info("server")["server"]["revision"])
    assert say(shell, "watch since 1")[0].startswith("(error) COMPACTED")
    assert say(shell, "unwatch") == []


def test_a_watch_of_what_is_still_to_come_is_refused_and_the_prompt_stays_connected(shell):
    answer = " ".join(say(shell, "watch since 999999999"))
    assert "revision 999999999 does not exist yet" in answer
    shell.prompts()
    assert not any("not connected" in line for line in shell.lines)
