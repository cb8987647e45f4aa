"""A check that a daemon answers, before a client waits for one."""

from kvd.client.stream import Stream
from kvd.commands.server import Ping
from kvsh.ui.settings import Settings


def require_daemon(settings: Settings) -> None:
    """Return if a daemon answers. Raises KvdError, at once if the connection is refused."""
    with Stream(**settings.stream) as stream:
        stream.answer(Ping())
