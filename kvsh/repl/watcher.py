"""WATCH above the prompt: one task takes changes as fast as they come, another writes what a person can read."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from kvd.client.aio import AsyncClient
from kvd.client.async_watch import AsyncWatch
from kvd.commands.model import Change
from kvd.errors import KvdError
from kvsh.grammar.shell import Watch
from kvsh.render.changes import change_line, resume_text
from kvsh.repl.interrupts import with_sigint_blocked
from kvsh.repl.throttle import Backlog, TokenBucket
from kvsh.words import quote

BATCH_S = 0.03

Write = Callable[[str], Awaitable[None]]


class Watcher:
    """A run of WATCH. `write` puts lines above the prompt; it may wait long, while a program has the terminal."""

    def __init__(
        self,
        client: AsyncClient,
        command: Watch,
        write: Write,
        watch_changed: Callable[[], None],
        line_of: Callable[[Change], str] = change_line,
    ) -> None:
        prefixes = command.prefixes or []
        self.names = " ".join(quote(prefix) if prefix else "all keys" for prefix in prefixes) or "all keys"
        self.write = write
        self.watch_changed = watch_changed
        self.backlog = Backlog(line_of)
        self.allowance = TokenBucket(time.monotonic())
        self.news: list[str] = []
        self.state = ""
        self.lost_at = 0.0
        self.end: str | None = None
        self.arrived = asyncio.Event()
        self.changes: AsyncWatch = with_sigint_blocked(
            lambda: client.watch(*prefixes, since=command.since, history=command.history, on_state=self._on_state)
        )
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def status(self) -> str:
        """Return the text for the toolbar."""
        return f"watching {self.names} · revision {self.changes.revision}{self.state}"

    async def start(self) -> str:
        """Start; return the sentence to write once no change can be missed. Raises KvdError."""
        revision = await self.changes.ready()
        self.tasks = [asyncio.create_task(self._take()), asyncio.create_task(self._show())]
        return f"watching {self.names} from revision {revision} (UNWATCH ends it)"

    async def _take(self) -> None:
        """Take changes as they come, until the watch fails."""
        try:
            while True:
                self.backlog.add(await self.changes.take())
                self.arrived.set()
        except KvdError as error:
            self.state, self.end = " · ended", f"the watch of {self.names} has ended: {error}"
            self.arrived.set()

    async def _show(self) -> None:
        """Write the changes: at once if they are few, else as many as the token bucket allows."""
        while True:
            await self.arrived.wait()
            self.allowance.pass_time(time.monotonic())
            if (pause := self.allowance.wait_s(self.backlog.count)) > 0:
                await asyncio.sleep(pause)
                continue
            self.arrived.clear()
            end = self.end
            await self.write("".join(f"{line}\n" for line in [*self._batch(), *([end] if end else [])]))
            if end:
                return
            await asyncio.sleep(BATCH_S)

    def _batch(self) -> list[str]:
        """Return the lines to write now."""
        news, self.news = self.news, []
        lines = self.backlog.lines(int(self.allowance.lines)) if self.backlog.count else []
        self.allowance.spend(len(lines))
        return [*news, *lines]

    def _on_state(self, state: str) -> None:
        """Show a lost connection in the toolbar, and report the reconnection on a line."""
        if state == "disconnected":
            self.lost_at, self.state = time.monotonic(), " · disconnected"
        else:
            self.state = ""
            gone_s = time.monotonic() - self.lost_at
            self.news.append(f"watch: reconnected after {gone_s:.1f} s; nothing is missed")
            self.arrived.set()
        self.watch_changed()

    @property
    def resume(self) -> str:
        """Return the sentence about where a later watch resumes."""
        return resume_text(*self.changes.position)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await self.changes.close()
