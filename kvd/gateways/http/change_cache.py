"""Changes as JSON for watchers. A large one is encoded once, and all watchers that are sent it share its bytes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kvd.commands.model import Change
from kvd.gateways.common.json_pieces import encode, to_json
from kvd.gateways.http.encoding import encode_in_pieces
from kvd.limits import HTTP_CHANGE_CACHE_BYTES_MAX, HTTP_CHANGE_CACHE_MS, HTTP_LARGE_BYTES

Form = Callable[[Change], dict[str, Any]]


class EncodedChange:
    """A large change as JSON. A watcher holds it while it is being sent to it."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.size = sum(map(len, pieces))
        self.holders = 0

    @property
    def share(self) -> int:
        """Return how many of its bytes one of its holders accounts for."""
        return self.size // max(1, self.holders)

    @contextmanager
    def hold(self, connection: Any) -> Iterator[list[bytes]]:
        """Return the pieces, and let the connection of a client account for them meanwhile."""
        self.holders += 1
        connection.record = self
        try:
            yield self.pieces
        finally:
            self.holders -= 1
            connection.record = None


class ChangeCache:
    """The large changes that are being sent, or were a moment ago."""

    def __init__(self) -> None:
        self._making: dict[tuple[Form, str | None, int], asyncio.Task[EncodedChange]] = {}  # the oldest first

    async def record(self, form: Form, history: str | None, change: Change) -> EncodedChange:
        """Return a large change in a form. The first watcher that comes to it has it encoded."""
        name = (form, history, change.revision)  # a daemon has one change of each revision of a history
        if name not in self._making:
            self._making[name] = asyncio.ensure_future(_encode_change(form, change))
            asyncio.get_running_loop().call_later(HTTP_CHANGE_CACHE_MS / 1000, self._making.pop, name, None)
        record = await asyncio.shield(self._making[name])
        self._forget_oldest()
        return record

    def _forget_oldest(self) -> None:
        """Keep no more than HTTP_CHANGE_CACHE_BYTES_MAX; those that are being sent live on with their holders."""
        made = {name: task.result().size for name, task in self._making.items() if task.done()}
        total = sum(made.values())
        for name, size in made.items():
            if total <= HTTP_CHANGE_CACHE_BYTES_MAX:
                break
            total -= size
            del self._making[name]


async def _encode_change(form: Form, change: Change) -> EncodedChange:
    """Encode a change."""
    return EncodedChange(await encode_in_pieces(form(change)))


def is_large(change: Change) -> bool:
    """Return whether a change is encoded for all watchers together."""
    return change.value is not None and len(change.value) >= HTTP_LARGE_BYTES


def text_of(form: Form, change: Change) -> bytes:
    """Return a small change as JSON."""
    return encode(to_json(form(change)))
