"""A watcher without a daemon and without a screen: what it writes, and when it ends."""

import asyncio

import pytest

from kvd.commands.model import Change
from kvd.errors import Compacted
from kvsh.grammar.shell import Watch
from kvsh.repl.watcher import Watcher


def changes(first, last):
    return [Change("CLEAR", number, b"k", None, 0, None, 0) for number in range(first, last + 1)]


class FakeWatch:
    """A watch that returns prepared lists of changes, and raises prepared errors."""

    def __init__(self):
        self.given = asyncio.Queue()
        self.revision = 7
        self.position = (7, "h")
        self.is_closed = False

    async def ready(self):
        return self.revision

    async def take(self):
        what = await self.given.get()
        self.given.task_done()
        if isinstance(what, Exception):
            raise what
        return what

    async def close(self):
        self.is_closed = True


class Fakes:
    """A client that gives one fake watch; what is written is gathered."""

    def __init__(self):
        self.inner = FakeWatch()
        self.written = []
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.redrawn = 0
        self.wrote = asyncio.Event()

    def watch(self, *prefixes, since, history, on_state):
        self.asked = prefixes, since, history
        self.on_state = on_state
        return self.inner

    async def write(self, text):
        await self.is_free.wait()
        self.written.append(text)
        self.wrote.set()

    def redraw(self):
        self.redrawn += 1

    async def next(self):
        await asyncio.wait_for(self.wrote.wait(), 10)
        self.wrote.clear()
        return self.written[-1]

    def watcher(self, command):
        return Watcher(self, command, self.write, self.redraw)


def run(test):
    asyncio.run(asyncio.wait_for(test(), 20))


def test_what_comes_is_written():
    async def main():
        fakes = Fakes()
        watcher = fakes.watcher(Watch([b"a", b""], since=3, history="h"))
        assert fakes.asked == ((b"a", b""), 3, "h")
        assert await watcher.start() == 'watching "a" all keys from revision 7 (UNWATCH ends it)'
        assert watcher.status == 'watching "a" all keys · revision 7'
        fakes.inner.given.put_nowait(changes(1, 2))
        assert await fakes.next() == "     1  CLEAR k\n     2  CLEAR k\n"
        assert watcher.resume == "watched up to revision 7; resume with SINCE 7 HISTORY h"
        await watcher.stop()
        assert fakes.inner.is_closed

    run(main)


def test_while_it_cannot_be_written_changes_are_counted_and_only_the_last_kept():
    async def main():
        fakes = Fakes()
        watcher = fakes.watcher(Watch())
        await watcher.start()
        fakes.is_free.clear()
        fakes.inner.given.put_nowait(changes(1, 1))
        for start in range(2, 10_002, 100):
            fakes.inner.given.put_nowait(changes(start, start + 99))
        await fakes.inner.given.join()
        assert len(watcher.backlog.last) < 100
        fakes.is_free.set()
        while "10001  CLEAR" not in "".join(fakes.written):
            await fakes.next()
        text = "".join(fakes.written)
        hidden = sum(int(line.split()[1]) for line in text.splitlines() if "not shown" in line)
        assert text.count("CLEAR") + hidden == 10_001
        await watcher.stop()

    run(main)


def test_the_daemon_gone_and_back_is_one_line_before_what_comes_then():
    async def main():
        fakes = Fakes()
        watcher = fakes.watcher(Watch())
        await watcher.start()
        fakes.on_state("disconnected")
        assert watcher.status.endswith(" · disconnected")
        fakes.on_state("reconnected")
        fakes.inner.given.put_nowait(changes(8, 8))
        while "CLEAR" not in "".join(fakes.written):
            await fakes.next()
        first, second = "".join(fakes.written).splitlines()
        assert first == "watch: reconnected after 0.0 s; nothing is missed"
        assert second == "     8  CLEAR k"
        assert watcher.status == "watching all keys · revision 7"
        assert fakes.redrawn == 2
        await watcher.stop()

    run(main)


@pytest.mark.parametrize("before", [[], changes(1, 1)])
def test_a_watch_that_can_give_no_more_ends_with_a_line(before):
    async def main():
        fakes = Fakes()
        watcher = fakes.watcher(Watch([b"a"]))
        await watcher.start()
        if before:
            fakes.inner.given.put_nowait(before)
        fakes.inner.given.put_nowait(Compacted("gone", compacted=9))
        await asyncio.gather(*watcher.tasks)
        assert "".join(fakes.written).splitlines() == [
            *["     1  CLEAR k" for _ in before],
            'the watch of "a" has ended: COMPACTED: gone',
        ]
        assert watcher.status == 'watching "a" · revision 7 · ended'

    run(main)
