"""The parts of the prompt without a terminal: colours, completion, history, batches of changes."""

import asyncio
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from kvd.client.aio import AsyncClient
from kvd.commands.entry import Change
from kvsh.repl.completer import LiveKeys, PlaceCompleter, files, stems
from kvsh.repl.hints import cut
from kvsh.repl.history import History, history_path
from kvsh.repl.lexer import fragments
from kvsh.repl.prompt import place_name
from kvsh.repl.watcher import batch_text


def coloured(text):
    return [(style.removeprefix("class:"), part) for style, part in fragments(text) if part.strip()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("set k v ex 5", [("command", "set"), ("", "k"), ("", "v"), ("option", "ex"), ("", "5")]),
        ("se", [("", "se")]),
        ("se k", [("unknown", "se"), ("", "k")]),
        ("bogus", [("unknown", "bogus")]),
        ("5 get 'a b'", [("", "5 "), ("command", "get"), ("quoted", "'a b'")]),
        ('get "a b', [("command", "get"), ("quoted", '"a b')]),
        ('"a"b c', [("", '"a"'), ("quoted", "b c")]),
        (" # x", [("comment", " # x")]),
        ("get \udcff", [("command", "get"), ("", "\udcff")]),
    ],
)
def test_colours(text, expected):
    found = coloured(text)
    assert [(style, part.strip() if style == "" else part) for style, part in found] == [
        (style, part.strip() if style == "" else part) for style, part in expected
    ]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_colours_leave_the_text_as_it_is(text):
    assert "".join(part for _, part in fragments(text)) == text


def offered(endpoint, text):
    async def ask():
        async with AsyncClient(endpoint, timeout=1) as client:
            completer = PlaceCompleter(LiveKeys(client))
            found = completer.get_completions_async(Document(text), CompleteEvent())
            return [(completion.text, completion.start_position) async for completion in found]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tak", [("take", -3)]),
        ("3 tak", [("take", -3)]),
        ("get ci", [("city", -2), ('"ci ty"', -2)]),
        ('get "ci', [('"ci ty"', -3), ('"city"', -3)]),
        ("clear city ci", [('"ci ty"', -2)]),
        ("get é", [('"é\\x00"', -1)]),
        ("scan u", [("user:", -1), ("user:1", -1), ("user:2", -1)]),
        ("scan limit", [("limit", -5), ('"limit"', -5)]),
        ("set user:1 v xx prev", [("previous", -4)]),
        ("set k us", []),
        ("source /nowhere/at/all", []),
    ],
)
def test_completion_offers_what_fits(daemon, kv, text, expected):
    for key in ("city", "ci ty", "é\0", "user:1", "user:2", "limit"):
        kv.set(key, "v")
    assert sorted(offered(daemon, text)) == sorted(expected)


def test_completion_without_a_daemon_offers_what_needs_none(tmp_path):
    assert offered(f"ipc://{tmp_path}/none", "get a") == []
    assert offered(f"ipc://{tmp_path}/none", "set k v e") == [("ex", -1)]


def test_keys_are_remembered_for_a_moment(daemon, kv):
    async def ask():
        async with AsyncClient(daemon) as client:
            keys = LiveKeys(client)
            kv.set("a1", "v")
            first = await keys.beginning(b"a")
            kv.set("a2", "v")
            return first, await keys.beginning(b"a"), await keys.beginning(b"a2")

    assert asyncio.run(ask()) == ([b"a1"], [b"a1"], [b"a2"])


def test_stems_are_what_several_keys_share():
    assert stems([b"a:1:x", b"a:1:y", b"a:2", b"b:1", b"c"], 0) == [b"a:"]
    assert stems([b"a:1:x", b"a:1:y", b"a:2"], 2) == [b"a:1:"]


def test_files_complete_with_directories_marked(tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "data.kv").touch()
    start = str(tmp_path).encode() + b"/d"
    assert files(start) == [start + b"ata.kv", start + b"ir/"]


def test_the_history_of_two_shells_loses_nothing(tmp_path):
    path = tmp_path / "state" / "history"
    one, two = History(path), History(path)
    for number in range(3):
        one.append_string(f"one {number}")
        two.append_string(f"two {number}")
    for kept_out in ("", " secret", "\tsecret"):
        one.append_string(kept_out)
    two.append_string("two 2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(History(path).load_history_strings()) == ["two 2", "one 2", "two 1", "one 1", "two 0", "one 0"]


def test_the_same_line_comes_once_from_the_history(tmp_path):
    history = History(tmp_path / "history")
    for line in ("a", "b", "a"):
        history.append_string(line)
    assert list(History(tmp_path / "history").load_history_strings()) == ["a", "b"]


def test_the_history_is_where_the_system_keeps_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_path() == tmp_path / "kvsh" / "history"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert history_path() == tmp_path / ".local" / "state" / "kvsh" / "history"


def test_a_batch_of_very_many_changes_shows_the_last_and_tells_how_many_it_hides():
    changes = [Change("CLEAR", number, b"k", None, 0, None, 0) for number in range(1, 51)]
    lines = batch_text(changes).splitlines()
    assert lines[0] == "        ... 30 changes not shown"
    assert lines[1:] == [f"    {number}  CLEAR k" for number in range(31, 51)]
    assert batch_text(changes[:1]) == "     1  CLEAR k\n"


@pytest.mark.parametrize(("room", "expected"), [(9, "key value"), (8, "key val…"), (1, "…"), (0, ""), (-3, "")])
def test_a_hint_is_cut_to_the_room_there_is(room, expected):
    assert cut("key value", room) == expected


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("tcp://127.0.0.1:7411", "127.0.0.1:7411"),
        ("ipc:///home/x/.data/kvd.sock", ".data"),
        ("ipc:///kvd.sock", "kvd.sock"),
    ],
)
def test_the_prompt_names_the_place(url, name):
    assert place_name(url) == name
