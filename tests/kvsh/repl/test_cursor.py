"""A terminal that does not say where its cursor is: no wait, no warning."""

import asyncio

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from prompt_toolkit.renderer import CPR_Support
from prompt_toolkit.shortcuts import PromptSession

from kvsh.repl import cursor
from kvsh.repl.cursor import tolerate_silence

QUESTION = b"\x1b[6n"


@pytest.fixture
def silent(terminal):
    """Return kvsh on a terminal that answers nothing."""
    shell = terminal()
    shell.screen.write_process_input = lambda _: None
    shell.prompts()
    return shell


def test_it_is_asked_once_and_nothing_is_said(silent, kv):
    for number in range(4):
        silent.prompts()
        silent.type("incr n\r")
        silent.shows(f"(integer) {number + 1}")
    silent.prompts()
    silent.type("begin\rincr a\r\x04y\r")
    assert silent.wait_for_exit() == 0
    assert silent.seen.count(QUESTION) == 1
    assert b"WARNING" not in silent.seen


def test_a_terminal_that_answers_is_asked_at_each_prompt(shell, kv):
    for number in range(3):
        shell.type("incr n\r")
        shell.shows(f"(integer) {number + 1}")
        shell.prompts()
    assert shell.seen.count(QUESTION) >= 3


def test_an_answer_that_comes_late_counts(monkeypatch):
    monkeypatch.setattr(cursor, "ANSWER_S", 0.0)

    async def main():
        app = PromptSession().app
        tolerate_silence(app)
        renderer = app.renderer
        renderer.cpr_support = CPR_Support.UNKNOWN
        renderer._waiting_for_cpr_futures.append(asyncio.Future())
        await renderer.wait_for_cpr_responses()
        before, is_waiting = renderer.cpr_support, renderer.waiting_for_cpr
        renderer.report_absolute_cursor_row(1)
        return before, is_waiting, renderer.cpr_support, renderer.cpr_not_supported_callback

    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        found = asyncio.run(main())
    assert found == (CPR_Support.NOT_SUPPORTED, False, CPR_Support.SUPPORTED, None)
