"""WATCH above the prompt: changes are gathered for a moment and written at once, so a flood never holds up typing."""

import asyncio
from collections.abc import Awaitable, Callable

from kvd.client.aio import AsyncClient, AsyncWatch
from kvd.commands.entry import Change
from kvd.errors import KvdError
from kvsh.grammar.shell import Watch
from kvsh.render.changes import change_line
from kvsh.words import printed

BATCH_S = 0.03
LINES_PER_BATCH_MAX = 20

Write = Callable[[str], Awaitable[None]]


class Watcher:
    """One WATCH. `write` puts whole lines above the prompt."""

    def __init__(self, client: AsyncClient, command: Watch, write: Write, watch_changed: Callable[[], None]) -> None:
        self.prefixes = command.prefixes or []
        self.names = " ".join(printed(prefix) if prefix else "all keys" for prefix in self.prefixes) or "all keys"
        self.write = write
        self.watch_changed = watch_changed
        self.states: list[str] = []
        self.state = ""
        self.changes: AsyncWatch = client.watch(*self.prefixes, since=command.since, on_state=self.on_state)
        self.task: asyncio.Task[None] | None = None

    @property
    def status(self) -> str:
        """Return what the toolbar says."""
        return f"watching {self.names} · revision {self.changes.revision}{self.state}"

    async def start(self) -> str:
        """Begin; return the sentence for when nothing can be missed any more. Raises KvdError."""
        revision = await self.changes.ready()
        self.task = asyncio.create_task(self.follow())
        return f"watching {self.names} from revision {revision}"

    async def follow(self) -> None:
        """Write changes as they come, until stopped or until there can be no more."""
        try:
            while True:
                await self.write(batch_text(await self.changes.take()))
                self.watch_changed()
                await asyncio.sleep(BATCH_S)
        except KvdError as error:
            self.state = " · ended"
            await self.write(f"the watch of {self.names} has ended: {error}\n")

    def on_state(self, state: str) -> None:
        """Say that the daemon is gone or back: one line for each."""
        self.state = "" if state == "reconnected" else f" · {state}"
        self.watch_changed()
        self.said = asyncio.ensure_future(self.write(f"watch: {state}\n"))

    async def stop(self) -> None:
        """End it."""
        if self.task is not None:
            self.task.cancel()
        await self.changes.close()


def batch_text(changes: list[Change]) -> str:
    """Return changes as lines; of very many the last, and how many were not shown."""
    shown = changes[-LINES_PER_BATCH_MAX:]
    hidden = [f"        ... {len(changes) - len(shown)} changes not shown"] if len(changes) > len(shown) else []
    return "\n".join([*hidden, *map(change_line, shown)]) + "\n"
