"""The prompt's connections to the daemon: one for commands, another with short timeouts for lookups."""

import asyncio
from collections.abc import Callable

from kvd.client.aio import AsyncClient
from kvd.commands.server import Ping
from kvd.errors import KvdError
from kvsh.repl.interrupts import with_sigint_blocked
from kvsh.repl.state import SessionState
from kvsh.ui.settings import Settings

STATE_CHECK_S = 1.0
LOOKUP_TIMEOUT_S = 1.0
LOOKUP_CONNECT_S = 0.3  # the first prompt reports an absent daemon after this time


class Connections:
    """The connections of a prompt. `client` runs commands, `lookup` serves completion and checks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = AsyncClient(**settings.connection)
        timeouts = {"timeout": LOOKUP_TIMEOUT_S, "connect_timeout": LOOKUP_CONNECT_S}
        self.lookup = AsyncClient(**{**settings.connection, **timeouts})

    async def require_daemon(self) -> None:
        """Return if a daemon answers. Raises KvdError, after a third of a second if none is there."""
        await self.lookup.run(Ping())

    async def reconnect(self) -> None:
        """Connect again: unsent commands are dropped, and nothing waits behind a long reply."""
        await self.client.close()
        self.client = with_sigint_blocked(lambda: AsyncClient(**self.settings.connection))

    async def check_forever(self, state: SessionState, redraw: Callable[[], None]) -> None:
        """Keep the prompt's connection state up to date."""
        while True:
            was_connected = state.is_connected
            try:
                await self.require_daemon()
                state.set_connected(True)
            except KvdError:
                state.set_connected(False)
            if was_connected != state.is_connected:
                redraw()
            await asyncio.sleep(STATE_CHECK_S)

    async def close(self) -> None:
        """Close both connections."""
        await self.client.close()
        await self.lookup.close()
