"""`kvsh --scan [PREFIX]`: the keys that begin with PREFIX, one a line, in byte order and constant memory."""

import os
from collections.abc import Callable

from kvd.client import Stream
from kvd.client.walk import pages
from kvsh.modes.progress import after_interrupt
from kvsh.render.data import document, row
from kvsh.script.outcome import INTERRUPTED, WELL
from kvsh.script.output import Output
from kvsh.script.settings import Settings
from kvsh.words import as_word


def run(settings: Settings, output: Output, argument: str) -> int:
    """Write the keys that begin with `argument`; return the exit code. Raises KvdError."""
    text = TEXTS[settings.form]
    count = 0
    try:
        with Stream(**settings.connection) as stream:
            for page in pages(stream, os.fsencode(argument)):
                if not settings.quiet:
                    output.data(text(page))
                    output.flush()
                count += len(page)
    except KeyboardInterrupt:
        after_interrupt(output, f"kvsh: interrupted; at least {count:,} keys are written")
        return INTERRUPTED
    return WELL


def words(keys: list[bytes]) -> bytes:
    """Return keys as words that paste back."""
    return "".join([as_word(key) + "\n" for key in keys]).encode()


def lines(keys: list[bytes]) -> bytes:
    """Return keys as they are, each with a newline."""
    return b"\n".join(keys) + b"\n" if keys else b""


def documents(keys: list[bytes]) -> bytes:
    """Return each key as a JSON document on a line."""
    return b"".join([document(key) for key in keys])


def rows(keys: list[bytes]) -> bytes:
    """Return each key as a row of one field."""
    return b"".join([row([key]) for key in keys])


TEXTS: dict[str, Callable[[list[bytes]], bytes]] = {
    "terminal": words,
    "raw": lines,
    "json": documents,
    "csv": rows,
}
