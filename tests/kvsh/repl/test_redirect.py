"""Results poured into programs and files: what cannot be done is a sentence, and no program is left behind."""

import asyncio
import os

import pytest

from kvsh.grammar.vocabulary import Mistake
from kvsh.repl import redirect
from kvsh.repl.redirect import feed, store
from kvsh.repl.threads import in_thread


def test_a_program_gets_the_data_and_its_code_is_told(tmp_path):
    assert asyncio.run(feed([b"a\0b"], f"cat > {tmp_path}/out; exit 3")) == 3
    assert (tmp_path / "out").read_bytes() == b"a\0b"


@pytest.mark.parametrize("program", ["", "a\0b"])
def test_what_is_no_program_is_a_mistake(program):
    with pytest.raises(Mistake, match="program"):
        asyncio.run(feed([], program))


def test_a_program_ends_with_whoever_waits_for_it(tmp_path):
    async def main():
        feeding = asyncio.create_task(feed([], f"echo $$ > {tmp_path}/pid; exec sleep 1000"))
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        feeding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await feeding
        await until(lambda: not is_running(int((tmp_path / "pid").read_text())))

    asyncio.run(asyncio.wait_for(main(), 20))


async def until(holds):
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    store(b"a", "~/out", at_end=False)
    store(b"b", "~/out", at_end=False)
    store(b"c", "~/out", at_end=True)
    assert (tmp_path / "out").read_bytes() == b"bc"
    with pytest.raises(Mistake, match="cannot write /: Is a directory"):
        store(b"", "/", at_end=False)


def test_a_thread_gives_its_result_its_error_and_is_not_waited_for():
    async def main():
        assert await in_thread(lambda: 7) == 7
        with pytest.raises(Mistake):
            await in_thread(lambda: redirect.store(b"", "\0", at_end=False))
        reading, writing = os.pipe()
        waiting = asyncio.create_task(in_thread(lambda: os.read(reading, 1)))
        await asyncio.sleep(0)
        waiting.cancel()
        return writing

    writing = asyncio.run(asyncio.wait_for(main(), 20))
    os.write(writing, b"x")  # its loop is gone: no task waits for it
