"""A change on a line: for a person who watches, and for a program that reads lines of JSON."""

from msgspec.structs import asdict

from kvd.commands.model import Change
from kvsh.render.data import document
from kvsh.words import as_word, quote

VALUE_SHOWN_BYTES = 400


def change_line(change: Change) -> str:
    """Return a change for reading: `42  SET user:1 "Ada"`. A long value is cut, and its size is shown."""
    words = [f"{change.revision:>6}  {change.kind}", as_word(change.key)]
    if change.value is not None:
        words.append(_value_text(change.value))
    if change.expires is not None and change.value is not None:
        words.append(f"({(change.expires - change.time) / 1000:.15g} s to live)")
    return " ".join(words)


def _value_text(value: bytes) -> str:
    """Return a value, or its beginning and its size."""
    if len(value) <= VALUE_SHOWN_BYTES:
        return quote(value)
    return f"{quote(value[:VALUE_SHOWN_BYTES])}... ({len(value)} bytes)"


def change_document(change: Change, history: str | None) -> bytes:
    """Return a change as a JSON document and a newline. A later watch resumes at its revision and history."""
    return document({**asdict(change), "history": history})


def resume_text(revision: int, history: str | None) -> str:
    """Return the sentence about where a later watch resumes."""
    return f"watched up to revision {revision}; resume with SINCE {revision} HISTORY {history}"
