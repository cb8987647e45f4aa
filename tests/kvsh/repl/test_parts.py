"""The parts of the prompt without a terminal: colours, completion, hints, names."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from support.kvsh_cases import PATIENCE_S

from kvd.client.aio import AsyncClient
from kvsh.repl import completer
from kvsh.repl.completer import LiveKeys, PlaceCompleter, files
from kvsh.repl.hints import cut
from kvsh.repl.lexer import LineLexer, fragments, text_fragments


def styles_of(text):
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
    found = styles_of(text)
    assert [(style, part.strip() if style == "" else part) for style, part in found] == [
        (style, part.strip() if style == "" else part) for style, part in expected
    ]


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("get \n'\"#"))
def test_colours_leave_the_text_as_it_is(text):
    assert "".join(part for _, part in fragments(text)) == text
    assert "".join(part for _, part in text_fragments(text)) == text
    line = LineLexer().lex_document(Document(text))
    assert ["".join(part for _, part in line(at)) for at in range(text.count("\n") + 1)] == text.split("\n")


def test_a_value_of_several_lines_is_coloured_in_each():
    line = LineLexer().lex_document(Document("set k 'get\nget'\nget"))
    assert [[style for style, part in line(at) if part.strip()] for at in range(3)] == [
        ["class:command", "", "class:quoted"],
        ["class:quoted"],
        ["class:command"],
    ]


def complete(endpoint, text):
    async def ask():
        async with AsyncClient(endpoint, timeout=1) as client:
            found = PlaceCompleter(LiveKeys(client)).get_completions_async(Document(text), CompleteEvent())
            return [(completion.text, completion.start_position) async for completion in found]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("appe", [("append ", -4)]),
        ("3 appe", [("append ", -4)]),
        ("get 'a\nb'\n3 appe", [("append ", -4)]),
        ("get ci", [("city ", -2), ('"ci ty" ', -2)]),
        ('get "ci', [('"ci ty" ', -3), ('"city" ', -3)]),
        ("clear city ci", [('"ci ty" ', -2)]),
        ("get é", [('"é\\x00" ', -1)]),
        ("scan u", [("user:", -1), ("user:1 ", -1), ("user:2 ", -1)]),
        ("scan limit", [("limit ", -5), ('"limit" ', -5)]),
        ("set user:1 v xx prev", [("previous ", -4)]),
        ("set k us", []),
        ("source /nowhere/at/all", []),
        ("get US", [("user:1 ", -2), ("user:2 ", -2)]),
        ("scan USER:", [("user:1 ", -5), ("user:2 ", -5)]),
        ('get "USER:1', [('"user:1" ', -7)]),
        ("get u2", [("user:2 ", -2)]),
        ("get zz", []),
        ("info st", [("store ", -2)]),
        ("info ST", [("store ", -2)]),
        ("config fsy", [("fsync ", -3)]),
        ("commands g", []),
        ("get k > /nowhere/at/all", []),
    ],
)
def test_completion_offers_what_fits(daemon, kv, monkeypatch, text, expected):
    monkeypatch.setattr(completer, "DEADLINE_S", PATIENCE_S)  # keys are waited for, however busy the machine is
    for key in ("city", "ci ty", "é\0", "user:1", "user:2", "limit"):
        kv.set(key, "v")
    assert sorted(complete(daemon, text)) == sorted(expected)


@pytest.mark.parametrize("line", ["get k > {}/d", "get k >{}/d", "3 get k >> {}/d", "set a b >{}/d"])
def test_files_complete_after_a_redirection(tmp_path, line):
    (tmp_path / "data file").touch()
    text = line.format(tmp_path)
    back = len(f"{tmp_path}/d")
    assert complete(f"ipc://{tmp_path}/none", text) == [(f'"{tmp_path}/data file" ', -back)]


def test_completion_without_a_daemon_offers_what_needs_none(tmp_path):
    assert complete(f"ipc://{tmp_path}/none", "get a") == []
    assert complete(f"ipc://{tmp_path}/none", "set k v e") == [("ex ", -1)]


class FakeClient:
    """A client that counts what it is asked, and answers or not."""

    def __init__(self, *, answers=True):
        self.asked = []
        self.answers = answers

    async def run(self, command):
        self.asked.append(command.prefix)
        if not self.answers:
            await asyncio.Event().wait()
        return [command.prefix + b"1"], None


def test_keys_are_remembered_for_two_seconds(monkeypatch):
    async def ask():
        client = FakeClient()
        keys = LiveKeys(client)
        for at, prefix in [(100.0, b"a"), (101.9, b"a"), (101.9, b"b"), (102.1, b"a")]:
            monkeypatch.setattr(completer.time, "monotonic", lambda at=at: at)
            assert await keys.keys_with(prefix) == [prefix + b"1"]
        return client.asked

    assert asyncio.run(ask()) == [b"a", b"b", b"a"]


def test_a_daemon_that_does_not_answer_is_not_waited_for():
    async def ask():
        return await asyncio.wait_for(LiveKeys(FakeClient(answers=False)).keys_with(b"a"), 20)

    assert asyncio.run(ask()) == []


def test_what_is_remembered_is_bounded():
    async def ask():
        keys = LiveKeys(FakeClient())
        for number in range(3 * completer.CACHED_MAX):
            await keys.keys_with(b"%d" % number)
        return len(keys.cache)

    assert asyncio.run(ask()) <= completer.CACHED_MAX


def test_without_a_loop_it_offers_what_needs_none():
    found = PlaceCompleter(LiveKeys(FakeClient())).get_completions(Document("pin"), CompleteEvent())
    assert [completion.text for completion in found] == ["ping "]


def test_files_complete_with_directories_marked(tmp_path, monkeypatch):
    (tmp_path / "dir").mkdir()
    (tmp_path / "data.kv").touch()
    start = str(tmp_path).encode() + b"/d"
    assert files(start) == [start + b"ata.kv", start + b"ir/"]
    assert files(b"/nowhere/x") == files(b"a\0/b") == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files(b"~/di") == [b"~/dir/"]


@pytest.mark.parametrize(("room", "expected"), [(9, "key value"), (8, "key val…"), (1, "…"), (0, ""), (-3, "")])
def test_a_hint_is_cut_to_the_room_there_is(room, expected):
    assert cut("key value", room) == expected
