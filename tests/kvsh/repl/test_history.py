"""The history: private, without what begins with a blank, each line once; shells at once lose nothing."""

import asyncio
import stat
import subprocess
import sys

from prompt_toolkit.history import FileHistory
from support.terminal import say

from kvsh.repl import history as room
from kvsh.repl.history import History, history_path

WRITER = """
import sys
from pathlib import Path
from kvsh.repl.history import History
history = History(Path(sys.argv[1]))
for number in range(20):
    history.append_string(f"{sys.argv[2]} {number} " + "x" * 20_000 + "\\nsecond line\\n\\n# third")
"""


def entries(path):
    """Return what a new shell would find, newest first."""
    return list(History(path).load_history_strings())


def load(path):
    """Return a history as a shell has it after its first prompt."""
    history = History(path)

    async def load():
        return [line async for line in history.load()]

    asyncio.run(load())
    return history


def test_two_shells_append_to_it_and_it_is_private(tmp_path):
    path = tmp_path / "state" / "history"
    one, two = History(path), History(path)
    for number in range(3):
        one.append_string(f"one {number}")
        two.append_string(f"two {number}")
    for kept_out in ("", " secret", "\tsecret", "  "):
        one.append_string(kept_out)
    two.append_string("two 2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes().count(b"+") == 6
    assert entries(path) == ["two 2", "one 2", "two 1", "one 1", "two 0", "one 0"]
    path.unlink()
    one.append_string("one 3")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_twenty_shells_at_once_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "READ_BYTES_MAX", 1 << 30)
    path = tmp_path / "history"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(shell)]) for shell in range(20)]
    assert [writer.wait() for writer in writers] == [0] * 20
    rest = "x" * 20_000 + "\nsecond line\n\n# third"
    assert set(entries(path)) == {f"{shell} {number} {rest}" for shell in range(20) for number in range(20)}


def test_others_read_it_as_prompt_toolkit_writes_it(tmp_path):
    path = tmp_path / "history"
    FileHistory(str(path)).append_string("from before\nin two lines")
    assert entries(path) == ["from before\nin two lines"]
    History(path).append_string("a\n\nb")
    assert list(FileHistory(str(path)).load_history_strings()) == ["a\n\nb", "from before\nin two lines"]


def test_the_same_line_comes_once(tmp_path):
    history = load(tmp_path / "history")
    for line in ("a", "b", "a  ", "c", "b"):
        history.append_string(line)
    assert history.get_strings() == ["a", "c", "b"]
    assert entries(tmp_path / "history") == ["b", "c", "a"]


def test_bytes_that_are_no_text_are_kept(tmp_path):
    path = tmp_path / "history"
    History(path).append_string("set k \udcff")
    assert b"+set k \xff\n" in path.read_bytes()
    assert entries(path) == ["set k \udcff"]


def test_of_a_long_file_the_end_is_read_in_whole_entries(tmp_path, monkeypatch):
    path = tmp_path / "history"
    history = History(path)
    for number in range(100):
        history.append_string(f"first {number}\nsecond {number}")
    monkeypatch.setattr(room, "READ_BYTES_MAX", 200)
    found = entries(path)
    assert found == [f"first {number}\nsecond {number}" for number in range(99, 99 - len(found), -1)]
    assert 2 < len(found) < 10


def test_a_history_that_cannot_be_written_or_read_costs_no_shell(tmp_path, monkeypatch):
    history = load(tmp_path / "history")
    (tmp_path / "history").unlink()
    assert history.load_history_strings() == []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "write_all", full)
    history.append_string("kept in memory")
    assert history.get_strings() == ["kept in memory"]


def test_it_is_where_the_system_keeps_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_path(None) == tmp_path / "kvsh" / "history"
    assert history_path("a/b c") == tmp_path / "kvsh" / "history-a%2Fb%20c"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert history_path(None) == tmp_path / ".local" / "state" / "kvsh" / "history"


def test_at_the_prompt(shell, tmp_path):
    say(shell, "ping one")
    say(shell, "ping one")
    shell.type(" ping secret\r")
    shell.shows('"secret"')
    say(shell, "ping two")
    shell.type("\x10\x10")
    shell.shows("data0> ping one")
    path = tmp_path / "state" / "kvsh" / "history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [line for line in path.read_text().splitlines() if line.startswith("+")] == ["+ping one", "+ping two"]


def test_where_none_can_be_kept_there_is_one_in_memory(terminal):
    shell = terminal(XDG_STATE_HOME="/proc/none")
    shell.prompts()
    assert say(shell, "ping one") == ['"one"']
    shell.type("\x10\r")
    shell.until(lambda lines: lines.count('"one"') == 2)
