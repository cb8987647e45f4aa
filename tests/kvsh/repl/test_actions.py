"""What a line does, without a prompt: what is gathered and when it stays so, where results go, what is asked."""

import asyncio
from types import SimpleNamespace

import pytest

from kvd.commands.base import Ok
from kvd.commands.values import Set
from kvd.errors import Conflict, Denied, OutcomeUnknown, Unreachable
from kvsh.repl.actions import Actions, count_text
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
    """A watch whose daemon does not answer."""

    def __init__(self):
        self.is_closed = False

    async def ready(self):
        raise Unreachable("INFO: no daemon answers")

    async def close(self):
        self.is_closed = True


class FakeFront(SimpleNamespace):
    """A prompt that remembers what it was told."""

    def __init__(self, **given):
        super().__init__(
            settings=Settings("ipc:///none", 1.0, "terminal"),
            client=FakeClient(),
            form="terminal",
            always_timed=False,
            is_connected=True,
            is_down=False,
            is_left=False,
            is_paging=True,
            open_transaction=None,
            watcher=None,
            told=[],
            agrees=False,
        )
        self.__dict__.update(given)

    def write(self, text):
        self.told.append(text.rstrip("\n"))

    def show_error(self, text):
        self.told.append(f"(error) {text}")

    show_note = write

    def redraw(self):
        pass

    async def show(self, make):
        self.told.append(b"".join(make()).decode().rstrip("\n"))

    async def lend(self, program, text):
        self.told.append((program, b"".join(text)))

    async def write_above(self, text):
        self.told.append(text)

    async def require_daemon(self):
        if self.is_down:
            raise Unreachable("PING: no daemon answers")

    async def is_agreed(self, question):
        self.told.append(question)
        return self.agrees


def run(front, *lines):
    """Run lines; return whether each went well."""
    actions = Actions(front)

    async def all_of_them():
        return [await actions.run_line(line.encode()) for line in lines]

    return asyncio.run(all_of_them())


def gathered(front):
    return None if front.open_transaction is None else front.open_transaction.commands


def test_what_certainly_was_not_executed_stays_gathered():
    front = FakeFront()
    front.client.failure = Unreachable("TRANSACTION: no daemon answers")
    assert run(front, "begin", "set a 1", "commit") == [True, True, False]
    assert gathered(front) == [Set(b"a", b"1")]
    assert front.told[-1] == "still gathered: COMMIT again or DISCARD"
    assert not front.is_connected
    front.client.failure = None
    assert run(front, "commit") == [True]
    assert gathered(front) is None
    assert front.client.ran[0].commands == [Set(b"a", b"1")]


@pytest.mark.parametrize("failure", [OutcomeUnknown("TRANSACTION: no reply"), Conflict("a has changed", revision=2)])
def test_what_may_have_been_executed_or_was_refused_is_dropped_and_said(failure):
    front = FakeFront()
    front.client.failure = failure
    run(front, "begin", "set a 1", "incr b", "commit")
    assert gathered(front) is None
    assert front.told[-1] == "no longer gathered: 2 commands"


def test_what_was_not_agreed_to_stays_gathered():
    front = FakeFront()
    assert run(front, "begin", 'clearprefix ""', "commit") == [True, True, True]
    assert len(gathered(front)) == 1
    assert front.told == ["end ALL keys?"]
    front.agrees = True
    run(front, "commit")
    assert gathered(front) is None
    assert len(front.client.ran) == 3  # each time after a COUNT


def test_a_mistake_says_nothing_of_the_connection():
    front = FakeFront()
    front.is_connected = False
    assert run(front, "bogus", "incr a b") == [False, False]
    assert not front.is_connected
    assert run(front, "ping", "# ping", "") == [True, True, True]
    assert front.is_connected
    assert len(front.client.ran) == 1


@pytest.mark.parametrize("line", ["watch | cat", "begin > x", "quit | cat", "format raw > x", "discard >> x"])
def test_words_without_a_result_have_none_to_pour(line):
    front = FakeFront()
    assert run(front, line) == [False]
    assert "has no result here" in front.told[0]
    assert front.open_transaction is None
    assert not front.is_left


def test_what_is_gathered_has_no_result_yet_but_commit_and_help_have(tmp_path):
    front = FakeFront()
    assert run(front, "begin", "set a 1 | cat", "set a 2", "help get | pager -x", f"commit > {tmp_path}/out") == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert front.told[0] == "(error) SET has no result here to |"
    assert front.told[1][0] == "pager -x"
    assert front.told[1][1].startswith(b"GET key\n")
    assert (tmp_path / "out").read_bytes() == b"OK\n"


def test_a_failed_script_is_told_once(tmp_path, capfd):
    front = FakeFront()
    (tmp_path / "s.kv").write_text("get\n")
    assert run(front, f"source {tmp_path}/s.kv") == [False]
    assert front.told == []
    assert capfd.readouterr().err.startswith(f"kvsh: {tmp_path}/s.kv:1: GET needs the key")
    assert run(front, "begin", f"source {tmp_path}/s.kv") == [True, False]
    assert front.told == ["(error) SOURCE within BEGIN: COMMIT or DISCARD first"]


def test_times_are_told_when_asked():
    front = FakeFront()
    run(front, "timing", "timing on", "ping", "timing off", "ping")
    assert front.told[0:2] == ["timing is OFF", "timing is ON"]
    assert front.told[3].endswith(" s)")
    assert front.told[4] == "timing is OFF"
    assert len(front.told) == 6


def test_a_watch_without_a_daemon_is_none():
    front, watch = FakeFront(), FailingWatch()
    front.client.watch = lambda *_, **__: watch
    assert run(front, "watch") == [False]
    assert (front.watcher, watch.is_closed) == (None, True)
    assert front.told[0].startswith("(error) INFO: no daemon answers at ipc:///none")


def test_a_command_is_repeated_until_it_has_run_as_often_as_asked_or_fails(tmp_path):
    front = FakeFront()
    assert run(front, "3 every 0.001 ping", f"2 every 0.001 incr a >> {tmp_path}/out") == [True, True]
    assert [type(command).__name__ for command in front.client.ran] == ["Ping"] * 3 + ["Incr"] * 2
    assert front.told[-1].startswith("1 byte written to ")
    assert len(front.told) == 6 + 2  # each with its time of day, but where the result goes into a file
    front.client.failure = Conflict("a has changed", revision=2)
    assert run(front, "every 0.001 ping") == [False]
    assert run(front, "begin", "every 1 ping") == [True, False]
    assert front.told[-1] == "(error) EVERY within BEGIN: COMMIT or DISCARD first"
    assert front.is_paging


def test_ctrl_c_between_two_runs_ends_a_repeated_command_without_a_word():
    front = FakeFront()

    async def main():
        shown = asyncio.Event()

        async def show(_):
            shown.set()

        front.show = show
        task = asyncio.create_task(Actions(front).run_line(b"every 3600 ping"))
        await shown.wait()
        for _ in range(9):
            await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(main()) is True
    assert len(front.client.ran) == 1


def test_the_daemon_is_asked_how_many_keys_would_end():
    front = FakeFront()
    front.client.result = 1234
    assert run(front, "clearprefix user:", "clear " + "k " * 10, "clear k", "takefirst job:") == [True] * 4
    assert front.told[:2] == ['end 1,234 keys with the prefix "user:"?', "end 10 keys?"]
    assert [type(command).__name__ for command in front.client.ran] == ["Count", "Clear", "TakeFirst"]
    front = FakeFront(agrees=True)
    front.client.failure = Denied("COUNT needs read")
    run(front, "clearprefix user:")
    assert front.told[0] == 'end all keys with the prefix "user:"?'
    front = FakeFront()
    front.settings = front.settings._replace(confirm=False)
    run(front, "clearprefix user:", 'clearprefix ""')
    assert front.told[1:] == ["end ALL keys?"]


def test_numbers_of_things():
    assert [count_text(count, "line") for count in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]


def test_where_no_daemon_was_a_command_does_not_wait_for_one():
    front = FakeFront(is_connected=False, is_down=True)
    assert run(front, "get k", "begin", "set a 1", "commit") == [False, True, True, False]
    assert front.client.ran == []
    assert front.told[0].startswith("(error) GET: no daemon answers")
    assert front.told[-1] == "still gathered: COMMIT again or DISCARD"
