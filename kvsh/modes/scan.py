"""`kvsh --scan [PREFIX]`: the keys that begin with PREFIX, one a line, in byte order and constant memory."""

import os
from collections.abc import Callable

from kvd.client import Stream
from kvd.client.walk import pages
from kvsh.modes.progress import progress_of, report_after_interrupt
from kvsh.render.data import document, row
from kvsh.ui.outcome import INTERRUPTED, OK
from kvsh.ui.output import Output
from kvsh.ui.progress import Progress
from kvsh.ui.settings import Settings
from kvsh.words import as_word

DATA_FD = 1


def run(settings: Settings, output: Output, argument: str) -> int:
    """Write the keys that begin with `argument`; return the exit code. Raises KvdError."""
    text = TEXTS[settings.form]
    count = 0
    progress = _scan_progress(settings)
    output.attach(progress)
    try:
        with Stream(**settings.stream) as stream:
            for page in pages(stream, os.fsencode(argument)):
                if not settings.quiet:
                    output.data(text(page))
                    output.flush()
                count += len(page)
                if progress.is_due():
                    progress.draw(f"{count:,} keys")
    except KeyboardInterrupt:
        report_after_interrupt(output, f"kvsh: interrupted; at least {count:,} keys are written")
        return INTERRUPTED
    finally:
        progress.clear()
    return OK


def _scan_progress(settings: Settings) -> Progress:
    """Return the line of progress: by default hidden where the keys themselves are shown."""
    is_usual = settings.progress is None and os.isatty(DATA_FD)
    return progress_of(settings._replace(progress=False) if is_usual else settings)


def words(keys: list[bytes]) -> bytes:
    """Return keys as words that paste back."""
    return "".join([as_word(key) + "\n" for key in keys]).encode()


def lines(keys: list[bytes]) -> bytes:
    """Return keys unchanged, each with a newline."""
    return b"\n".join(keys) + b"\n" if keys else b""


def _nul_items(keys: list[bytes]) -> bytes:
    """Return keys unchanged, each with a NUL byte."""
    return b"".join([key + b"\0" for key in keys])


def _documents(keys: list[bytes]) -> bytes:
    """Return each key as a JSON document on a line."""
    return b"".join([document(key) for key in keys])


def rows(keys: list[bytes]) -> bytes:
    """Return each key as a row of one field."""
    return b"".join([row([key]) for key in keys])


TEXTS: dict[str, Callable[[list[bytes]], bytes]] = {
    "terminal": words,
    "raw": lines,
    "nul": _nul_items,
    "json": _documents,
    "csv": rows,
}
