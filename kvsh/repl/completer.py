"""Completion by place: commands, options, files, and the keys that are in the daemon at this moment.

Keys are asked for over a socket of its own with a deadline, so that a daemon that hangs never holds up typing.
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
    """Looks up what fits a word in the daemon, and remembers it for two seconds."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.cache: dict[bytes | str | None, tuple[float, list[bytes]]] = {}

    async def keys_with(self, prefix: bytes) -> list[bytes]:
        """Return the first keys that begin with a prefix, else those that resemble it."""
        return await self._recall(prefix, lambda: self.find(prefix))

    async def names(self, kind: str | None) -> list[bytes]:
        """Return the sections of INFO or the options of CONFIG."""
        return await self._recall(kind, lambda: self._names_in(NAMED[kind]))

    async def _recall(self, name: bytes | str | None, look: Callable[[], Awaitable[list[bytes]]]) -> list[bytes]:
        """Return what a look gives, or gave a moment ago; nothing when the daemon does not answer in time."""
        now = time.monotonic()
        asked_at, found = self.cache.get(name, (-CACHE_S, []))
        if now - asked_at < CACHE_S:
            return found
        try:
            found = await asyncio.wait_for(look(), DEADLINE_S)
        except (KvdError, TimeoutError):
            return []
        if len(self.cache) >= CACHED_MAX:
            self.cache.clear()
        self.cache[name] = (now, found)
        return found

    async def find(self, prefix: bytes) -> list[bytes]:
        """Return the keys that fit a prefix; raises KvdError."""
        return await self.scan(prefix, KEYS_OFFERED) or (
            await similar(self.scan, prefix, KEYS_OFFERED) if prefix else []
        )

    async def scan(self, prefix: bytes, limit: int) -> list[bytes]:
        """Return the first keys that begin with a prefix; raises KvdError."""
        found: list[bytes] = (await self.client.run(Scan(prefix, limit=limit)))[0]
        return found

    async def _names_in(self, command: Command) -> list[bytes]:
        """Return the names of what a command returns as a map; raises KvdError."""
        found: dict[str, Any] = (await self.client.answer(command)).result
        return [name.encode() for name in found]


class PlaceCompleter(Completer):
    """The completer of prompt-toolkit's session."""

    def __init__(self, keys: LiveKeys, aliases: Aliases = NO_ALIASES) -> None:
        self.keys = keys
        self.aliases = aliases

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Return what needs no daemon."""
        return completions(document, _place_at(document, self.aliases), [])

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion, None]:
        """Yield what fits the place before the cursor."""
        found = _place_at(document, self.aliases)
        looked_up = await self._live_completions(found)
        for completion in completions(document, found, looked_up):
            yield completion

    async def _live_completions(self, found: Place) -> list[bytes]:
        """Return the values that fit by their kind."""
        if found.kind == "file":
            return files(found.typed.value)
        if found.kind in NAMED:
            start = found.typed.value.lower()
            return [name for name in await self.keys.names(found.kind) if name.startswith(start)]
        if found.kind not in ("key", "prefix"):
            return []
        keys = await self.keys.keys_with(found.typed.value)
        return keys if found.kind == "key" else [*common_prefixes(keys, len(found.typed.value)), *keys]


def _line_at(document: Document) -> bytes:
    """Return the statement that the cursor is in, up to it."""
    return last_statement(as_bytes(document.text_before_cursor))


def _place_at(document: Document, aliases: Aliases) -> Place:
    """Return the place of the cursor."""
    return place(without_count(_line_at(document)), aliases)


def completions(document: Document, found: Place, values: list[bytes]) -> list[Completion]:
    """Return all that is offered at a place: known words first."""
    line = _line_at(document)
    back = -len(as_text(line[found.typed.start :]))
    words = [
        Completion(f"{choice.word} ", back, display=choice.word, display_meta=choice.about) for choice in found.choices
    ]
    offered = [value for value in dict.fromkeys(values) if value not in found.taken]
    return [*words, *(Completion(_text_of(value, found), back, display=as_word(value)) for value in offered)]


def _text_of(value: bytes, found: Place) -> str:
    """Return a value as the word to insert: in quotes if it needs them, or if the person began with one.

    A blank follows, unless more of the word may be to come.
    """
    word = quote(value) if found.typed.quoted else as_word(value, found.reserved)
    return word if found.kind in OPEN_KINDS and value.endswith(OPEN_ENDS) else f"{word} "


def files(start: bytes) -> list[bytes]:
    """Return the files and directories whose path begins so."""
    head, tail = os.path.split(start)
    try:
        entries = sorted(os.scandir(os.path.expanduser(head) or b"."), key=lambda entry: entry.name)  # noqa: PTH111  # bytes
    except (OSError, ValueError):  # ValueError: a NUL byte
        return []
    found = [entry for entry in entries if entry.name.startswith(tail)]
    return [os.path.join(head, entry.name) + (b"/" if entry.is_dir() else b"") for entry in found]  # noqa: PTH118  # bytes
