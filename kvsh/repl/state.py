"""The state of a prompt: actions change it, and the prompt shows it."""

from collections.abc import Iterator
from contextlib import contextmanager

from kvsh.grammar.transaction import TransactionState
from kvsh.repl.watcher import Watcher


class SessionState:
    """The state of one prompt. Its fields are changed only by its methods."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.transaction = TransactionState()
        self.watcher: Watcher | None = None
        self.always_timed = False
        self.is_connected = True
        self.is_left = False
        self.is_paging = True

    def choose_format(self, form: str) -> None:
        self.form = form

    def choose_timing(self, *, always: bool) -> None:
        self.always_timed = always

    def set_connected(self, is_connected: bool) -> None:  # noqa: FBT001  # the method's name explains it
        self.is_connected = is_connected

    def leave(self) -> None:
        """Leave the prompt after this line."""
        self.is_left = True

    @contextmanager
    def without_paging(self) -> Iterator[None]:
        """Write long results without the pager."""
        self.is_paging = False
        try:
            yield
        finally:
            self.is_paging = True

    def start_watch(self, watcher: Watcher) -> None:
        """Show the changes of a watcher that has started."""
        self.watcher = watcher

    async def stop_watch(self) -> None:
        """Stop showing changes."""
        if self.watcher is not None:
            await self.watcher.stop()
            self.watcher = None
