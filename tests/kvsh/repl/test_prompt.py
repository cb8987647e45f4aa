"""The prompt's parts without a terminal: what it says, and what is written above it when there is one and when not."""

import asyncio
import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from kvsh.grammar.shell import Begin
from kvsh.repl import screen
from kvsh.repl.prompt import Shell, place_name
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings

SETTINGS = Settings("ipc:///none/of/these/kvd.sock", 1.0, "terminal")


@contextmanager
def open_shell(settings):
    """Yield a shell without input, and a function that returns its output."""
    reading, writing = os.pipe()
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield Shell(settings, Output(writing)), lambda: os.read(reading, 65536).decode()
    os.close(reading)
    os.close(writing)


def run(test, settings=SETTINGS):
    async def main():
        with open_shell(settings) as (shell, written):
            try:
                await test(shell, written)
            finally:
                await shell.connections.close()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("", "these")),
        ({"profile": "production", "prompt_color": "red"}, ("ansired", "production")),
        ({"prompt_color": "gray"}, ("ansigray", "these")),
    ],
)
def test_it_names_where_we_are(monkeypatch, tmp_path, changed, expected):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def test(shell, _):
        assert shell.prompt() == [expected, ("class:prompt.state", ""), ("", "> ")]
        assert shell.prompt_width() == len(expected[1]) + 2
        shell.state.transaction.begin(Begin())
        assert shell.prompt()[1] == ("class:prompt.state", "(tx:0)")
        shell.state.set_connected(False)
        assert shell.prompt()[:2] == [("class:prompt.lost", "not connected"), ("class:prompt.state", "(tx:0)")]

    run(test, SETTINGS._replace(**changed))


class FakeApp(SimpleNamespace):
    """A prompt that remembers what was done to its place on the screen."""

    def __init__(self, **given):
        super().__init__(done=[], renderer=self, waiting_for_cpr=False, is_running=True, is_done=False)
        self.__dict__.update(given)

    def erase(self):
        self.done.append("erase")

    def request_absolute_cursor_position(self):
        self.done.append("ask")

    def invalidate(self):
        self.done.append("draw")

    async def wait_for_cpr_responses(self):
        self.done.append("wait")


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (None, None),
        (FakeApp(), ["erase", "ask", "draw"]),
        (FakeApp(waiting_for_cpr=True), ["wait", "erase", "ask", "draw"]),
        (FakeApp(is_done=True), []),  # or the line that was just entered would be shown once more
        (FakeApp(is_running=False), []),
    ],
)
def test_above_a_prompt_that_is_shown_it_is_taken_away_and_drawn_again(monkeypatch, tmp_path, app, expected):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(screen, "get_app_or_none", lambda: app)

    async def test(shell, written):
        await shell.screen.write_above("one\ntwo \udcff\n")
        assert written() == "one\ntwo \\udcff\n"

    run(test)
    assert app is None or app.done == expected


def test_nothing_is_written_above_while_a_program_has_the_terminal(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(screen, "get_app_or_none", lambda: None)

    async def test(shell, written):
        async with shell.screen.lock:
            writing = asyncio.create_task(shell.screen.write_above("late\n"))
            await asyncio.sleep(0.05)
            assert not writing.done()
            shell.screen.write("first\n")
        await writing
        assert written() == "first\nlate\n"

    run(test)


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
