"""Lines without a prompt: transactions and when they stay open, destinations of results, questions."""

import asyncio

import pytest

from kvd.commands.base import Ok
from kvd.commands.values import Set
from kvd.errors import Conflict, Denied, OutcomeUnknown, Unreachable
from kvsh.repl.actions import Actions, count_text
from kvsh.repl.state import SessionState
from kvsh.ui.settings import Settings


class FakeClient:
    """A client that answers OK, or raises."""

    def __init__(self):
        self.ran = []
        self.failure = None
        self.result = None

    async def answer(self, command):
        if self.failure is not None:
            raise self.failure
        self.ran.append(command)
        return Ok(1, [None for _ in getattr(command, "commands", [])] or self.result)


class FailingWatch:
    """A watch of a daemon that does not answer."""

    def __init__(self):
        self.is_closed = False

    async def ready(self):
        raise Unreachable("INFO: no daemon answers")

    async def close(self):
        self.is_closed = True


class FakePrompt:
    """A prompt that records messages: its state, and stand-ins for its screen and its connections."""

    def __init__(self, *, agrees=False, is_down=False):
        self.settings = Settings("ipc:///none", 1.0, "terminal")
        self.state = SessionState("terminal")
        self.client = FakeClient()
        self.messages = []
        self.agrees = agrees
        self.is_down = is_down
        self.show = self._show

    def actions(self):
        return Actions(self.settings, self.state, self, self)

    def write(self, text):
        self.messages.append(text.rstrip("\n"))

    def show_error(self, text):
        self.messages.append(f"(error) {text}")

    show_note = write

    def redraw(self):
        pass

    async def _show(self, make):
        self.messages.append(b"".join(make()).decode().rstrip("\n"))

    async def lend(self, program, text):
        self.messages.append((program, b"".join(text)))

    async def write_above(self, text):
        self.messages.append(text)

    async def require_daemon(self):
        if self.is_down:
            raise Unreachable("PING: no daemon answers")

    async def ask(self, question):
        self.messages.append(question)
        return self.agrees


def run(prompt, *lines):
    """Run lines; return whether each succeeded."""
    actions = prompt.actions()

    async def run_all():
        return [await actions.run_line(line.encode()) for line in lines]

    return asyncio.run(run_all())


def commands_of(prompt):
    return None if prompt.state.transaction.open is None else prompt.state.transaction.open.commands


def test_what_certainly_was_not_executed_stays_gathered():
    prompt = FakePrompt()
    prompt.client.failure = Unreachable("TRANSACTION: no daemon answers")
    assert run(prompt, "begin", "set a 1", "commit") == [True, True, False]
    assert commands_of(prompt) == [Set(b"a", b"1")]
    assert prompt.messages[-1] == "the transaction is still open: COMMIT again, or DISCARD"
    assert not prompt.state.is_connected
    prompt.client.failure = None
    assert run(prompt, "commit") == [True]
    assert commands_of(prompt) is None
    assert prompt.client.ran[0].commands == [Set(b"a", b"1")]


@pytest.mark.parametrize("failure", [OutcomeUnknown("TRANSACTION: no reply"), Conflict("a has changed", revision=2)])
def test_what_may_have_been_executed_or_was_refused_is_dropped_and_said(failure):
    prompt = FakePrompt()
    prompt.client.failure = failure
    run(prompt, "begin", "set a 1", "incr b", "commit")
    assert commands_of(prompt) is None
    assert prompt.messages[-1] == "the transaction is closed: 2 commands dropped"


def test_what_was_not_agreed_to_stays_gathered():
    prompt = FakePrompt()
    assert run(prompt, "begin", 'clearprefix ""', "commit") == [True, True, True]
    assert len(commands_of(prompt)) == 1
    assert prompt.messages == ["delete ALL keys?"]
    prompt.agrees = True
    run(prompt, "commit")
    assert commands_of(prompt) is None
    assert len(prompt.client.ran) == 3  # each time after a COUNT


def test_a_mistake_says_nothing_of_the_connection():
    prompt = FakePrompt()
    prompt.state.set_connected(False)
    assert run(prompt, "bogus", "incr a b") == [False, False]
    assert not prompt.state.is_connected
    assert run(prompt, "ping", "# ping", "") == [True, True, True]
    assert prompt.state.is_connected
    assert len(prompt.client.ran) == 1


@pytest.mark.parametrize("line", ["watch | cat", "begin > x", "quit | cat", "format raw > x", "discard >> x"])
def test_words_without_a_result_have_none_to_pour(line):
    prompt = FakePrompt()
    assert run(prompt, line) == [False]
    assert "has no result here" in prompt.messages[0]
    assert prompt.state.transaction.open is None
    assert not prompt.state.is_left


def test_what_is_gathered_has_no_result_yet_but_commit_and_help_have(tmp_path):
    prompt = FakePrompt()
    assert run(prompt, "begin", "set a 1 | cat", "set a 2", "help get | pager -x", f"commit > {tmp_path}/out") == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert prompt.messages[0] == "(error) SET has no result here to |"
    assert prompt.messages[1][0] == "pager -x"
    assert prompt.messages[1][1].startswith(b"GET key\n")
    assert (tmp_path / "out").read_bytes() == b"OK\n"


def test_a_failed_script_is_told_once(tmp_path, capfd):
    prompt = FakePrompt()
    (tmp_path / "s.kv").write_text("get\n")
    assert run(prompt, f"source {tmp_path}/s.kv") == [False]
    assert prompt.messages == []
    assert capfd.readouterr().err.startswith(f"kvsh: {tmp_path}/s.kv:1: GET needs the key")
    assert run(prompt, "begin", f"source {tmp_path}/s.kv") == [True, False]
    assert prompt.messages == ["(error) SOURCE within BEGIN: COMMIT or DISCARD first"]


def test_times_are_told_when_asked():
    prompt = FakePrompt()
    run(prompt, "timing", "timing on", "ping", "timing off", "ping")
    assert prompt.messages[0:2] == ["timing is OFF", "timing is ON"]
    assert prompt.messages[3].endswith(" s)")
    assert prompt.messages[4] == "timing is OFF"
    assert len(prompt.messages) == 6


def test_a_watch_without_a_daemon_is_none():
    prompt, watch = FakePrompt(), FailingWatch()
    prompt.client.watch = lambda *_, **__: watch
    assert run(prompt, "watch") == [False]
    assert (prompt.state.watcher, watch.is_closed) == (None, True)
    assert prompt.messages[0].startswith("(error) INFO: no daemon answers at ipc:///none")


def test_a_command_is_repeated_until_it_has_run_as_often_as_asked_or_fails(tmp_path):
    prompt = FakePrompt()
    assert run(prompt, "3 every 0.001 ping", f"2 every 0.001 incr a >> {tmp_path}/out") == [True, True]
    assert [type(command).__name__ for command in prompt.client.ran] == ["Ping"] * 3 + ["Incr"] * 2
    assert prompt.messages[-1].startswith("1 byte written to ")
    assert len(prompt.messages) == 6 + 2  # each with its time of day, but where the result goes into a file
    prompt.client.failure = Conflict("a has changed", revision=2)
    assert run(prompt, "every 0.001 ping") == [False]
    assert run(prompt, "begin", "every 1 ping") == [True, False]
    assert prompt.messages[-1] == "(error) EVERY within BEGIN: COMMIT or DISCARD first"
    assert prompt.state.is_paging


def test_ctrl_c_between_two_runs_ends_a_repeated_command_without_a_word():
    prompt = FakePrompt()

    async def main():
        shown = asyncio.Event()

        async def show(_):
            shown.set()

        prompt.show = show
        task = asyncio.create_task(prompt.actions().run_line(b"every 3600 ping"))
        await shown.wait()
        for _ in range(9):
            await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(main()) is True
    assert len(prompt.client.ran) == 1


def test_the_daemon_is_asked_how_many_keys_would_end():
    prompt = FakePrompt()
    prompt.client.result = 1234
    assert run(prompt, "clearprefix user:", "clear " + "k " * 10, "clear k", "takefirst job:") == [True] * 4
    assert prompt.messages[:2] == ['delete 1,234 keys with the prefix "user:"?', "delete 10 keys?"]
    assert [type(command).__name__ for command in prompt.client.ran] == ["Count", "Clear", "TakeFirst"]
    prompt = FakePrompt(agrees=True)
    prompt.client.failure = Denied("COUNT needs read")
    run(prompt, "clearprefix user:")
    assert prompt.messages[0] == 'delete all keys with the prefix "user:"?'
    prompt = FakePrompt()
    prompt.settings = prompt.settings._replace(confirm=False)
    run(prompt, "clearprefix user:", 'clearprefix ""')
    assert prompt.messages[1:] == ["delete ALL keys?"]


def test_numbers_of_things():
    assert [count_text(count, "line") for count in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]


def test_where_no_daemon_was_a_command_does_not_wait_for_one():
    prompt = FakePrompt(is_down=True)
    prompt.state.set_connected(False)
    assert run(prompt, "get k", "begin", "set a 1", "commit") == [False, True, True, False]
    assert prompt.client.ran == []
    assert prompt.messages[0].startswith("(error) GET: no daemon answers")
    assert prompt.messages[-1] == "the transaction is still open: COMMIT again, or DISCARD"
