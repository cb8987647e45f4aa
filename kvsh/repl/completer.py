"""Completion by place: commands, options, files, and live keys of the daemon.

Keys are read over a separate socket with a deadline, so a daemon that hangs does not delay typing.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from kvd.client.aio import AsyncClient
from kvd.commands import Command
from kvd.commands.keys import Scan
from kvd.errors import KvdError
from kvsh.grammar.aliases import NO_ALIASES, Aliases
from kvsh.grammar.block import last_statement
from kvsh.grammar.completion import NAMED, Place, place
from kvsh.grammar.key_prefixes import common_prefixes
from kvsh.grammar.line import without_count
from kvsh.repl.encoding import as_bytes, as_text
from kvsh.repl.similar import similar
from kvsh.words import as_word, quote

KEYS_OFFERED = 100
DEADLINE_S = 0.15
CACHE_S = 2.0
CACHED_MAX = 100
OPEN_KINDS, OPEN_ENDS = ("key", "prefix", "file"), (b":", b"/")


class LiveKeys:
    """Looks up keys and names in the daemon, with a cache of two seconds."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.cache: dict[bytes | str | None, tuple[float, list[bytes]]] = {}

    async def keys_with(self, prefix: bytes) -> list[bytes]:
        """Return the first keys that begin with a prefix, else similar keys."""
        return await self._recall(prefix, lambda: self._find(prefix))

    async def names(self, kind: str | None) -> list[bytes]:
        """Return the sections of INFO or the options of CONFIG."""
        return await self._recall(kind, lambda: self._names_in(NAMED[kind]))

    async def _recall(self, name: bytes | str | None, fetch: Callable[[], Awaitable[list[bytes]]]) -> list[bytes]:
        """Return a cached or new result of `fetch`; empty when the daemon does not answer in time."""
        now = time.monotonic()
        asked_at, values = self.cache.get(name, (-CACHE_S, []))
        if now - asked_at < CACHE_S:
            return values
        try:
            values = await asyncio.wait_for(fetch(), DEADLINE_S)
        except (KvdError, TimeoutError):
            return []
        if len(self.cache) >= CACHED_MAX:
            self.cache.clear()
        self.cache[name] = (now, values)
        return values

    async def _find(self, prefix: bytes) -> list[bytes]:
        """Return the keys that fit a prefix. Raises KvdError."""
        return await self._scan(prefix, KEYS_OFFERED) or (
            await similar(self._scan, prefix, KEYS_OFFERED) if prefix else []
        )

    async def _scan(self, prefix: bytes, limit: int) -> list[bytes]:
        """Return the first keys that begin with a prefix. Raises KvdError."""
        keys: list[bytes] = (await self.client.run(Scan(prefix, limit=limit)))[0]
        return keys

    async def _names_in(self, command: Command) -> list[bytes]:
        """Return the names in a command's map. Raises KvdError."""
        names: dict[str, Any] = (await self.client.answer(command)).result
        return [name.encode() for name in names]


class PlaceCompleter(Completer):
    """The completer of prompt-toolkit's session."""

    def __init__(self, keys: LiveKeys, aliases: Aliases = NO_ALIASES) -> None:
        self.keys = keys
        self.aliases = aliases

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Return the completions that need no daemon."""
        return completions(document, _place_at(document, self.aliases), [])

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion, None]:
        here = _place_at(document, self.aliases)
        looked_up = await self._live_completions(here)
        for completion in completions(document, here, looked_up):
            yield completion

    async def _live_completions(self, here: Place) -> list[bytes]:
        """Return the values that fit by their kind."""
        if here.kind == "file":
            return files(here.typed.value)
        if here.kind in NAMED:
            start = here.typed.value.lower()
            return [name for name in await self.keys.names(here.kind) if name.startswith(start)]
        if here.kind not in ("key", "prefix"):
            return []
        keys = await self.keys.keys_with(here.typed.value)
        return keys if here.kind == "key" else [*common_prefixes(keys, len(here.typed.value)), *keys]


def _line_at(document: Document) -> bytes:
    """Return the statement at the cursor, up to the cursor."""
    return last_statement(as_bytes(document.text_before_cursor))


def _place_at(document: Document, aliases: Aliases) -> Place:
    return place(without_count(_line_at(document)), aliases)


def completions(document: Document, here: Place, values: list[bytes]) -> list[Completion]:
    """Return the completions at a place, known words first."""
    line = _line_at(document)
    back = -len(as_text(line[here.typed.start :]))
    words = [
        Completion(f"{choice.word} ", back, display=choice.word, display_meta=choice.about) for choice in here.choices
    ]
    offered = [value for value in dict.fromkeys(values) if value not in here.taken]
    return [*words, *(Completion(_text_of(value, here), back, display=as_word(value)) for value in offered)]


def _text_of(value: bytes, here: Place) -> str:
    """Return a value as the word to insert: in quotes if it needs them, or if the user began with one.

    A blank follows, unless the word may continue.
    """
    word = quote(value) if here.typed.quoted else as_word(value, here.reserved)
    return word if here.kind in OPEN_KINDS and value.endswith(OPEN_ENDS) else f"{word} "


def files(start: bytes) -> list[bytes]:
    """Return the files and directories that begin with a path."""
    head, tail = os.path.split(start)
    try:
        entries = sorted(os.scandir(os.path.expanduser(head) or b"."), key=lambda entry: entry.name)  # noqa: PTH111  # bytes
    except (OSError, ValueError):  # ValueError: a NUL byte
        return []
    fitting = [entry for entry in entries if entry.name.startswith(tail)]
    return [os.path.join(head, entry.name) + (b"/" if entry.is_dir() else b"") for entry in fitting]  # noqa: PTH118  # bytes
