"""Options after the command: only where a word could not be an argument, and never after `--`."""

import os

import pytest


@pytest.mark.parametrize("data", [b"", b"\n", os.urandom(10_000_000)], ids=["empty", "newline", "10 MB"])
def test_any_bytes_go_in_and_come_out_equal(kvsh, data):
    for put, get in [
        (("set", "k", "-x"), ("get", "k", "--raw", "-n")),
        (("-x", "set", "k"), ("--raw", "-n", "get", "k")),
    ]:
        assert kvsh(*put, stdin=data)[:2] == (0, b"OK\n")
        assert kvsh(*get) == (0, data, "")


def test_a_word_that_can_be_an_argument_is_one(kvsh, kv):
    assert kvsh("set", "k", "--raw")[0] == 0
    assert kv.get("k") == b"--raw"
    assert kvsh("set", "k", "-1")[0] == 0
    assert kv.get("k") == b"-1"
    assert kvsh("multiget", "k", "-n")[1] == b"-1\n\n"
    assert kvsh("clear", "k", "-x")[1] == b"1\n"


def test_after_two_dashes_all_words_are_the_commands(kvsh, kv):
    assert kvsh("--", "set", "k", "-x", stdin=b"no")[0] == 0
    assert kv.get("k") == b"-x"
    assert kvsh("--", "get", "k", "--json")[0] == 2


def test_what_is_no_command_either_way_is_told_as_it_stands(kvsh):
    code, _, messages = kvsh("get", "k", "more", "--json")
    assert code == 2
    assert 'GET has no place for "more"' in messages
    for flags in (["-x"], ["-n"], ["-r", "2"], ["-i", "1"]):
        assert "belongs to a command" in kvsh(*flags)[2]
    assert "there is no command" in kvsh("nothing", "-x")[2]


def test_json_errors_are_json_wherever_they_come_from(kvsh):
    for arguments in [("-f", "/nonexistent"), ("incr", "a", "x"), ("watch", "a", "since", "-1")]:
        code, out, _ = kvsh("--json", *arguments)
        assert (code, out[:18]) == (2, b'{"error":{"code":"')
