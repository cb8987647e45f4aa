"""The log: one line on stderr for each event, for people and for programs.

A log call is `event=name field=%s ... sentence`, e.g. log.info("event=backup path=%s revision=%d", path, revision). The
fields are parsed before values are inserted, so no value can add a field:

    logfmt   time=2026-01-31T12:00:00.123Z level=info event=backup path=/backup/monday.kvd revision=7
    json     {"time": "2026-01-31T12:00:00.123Z", "level": "info", "event": "backup", "path": ..., "revision": 7}

The sentence becomes the field `message`, a traceback `traceback`. A line never breaks: newlines are escaped. Records of
other libraries are event=other. docs/events.md lists the events.
"""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, NamedTuple, TextIO, get_args

Form = Literal["auto", "logfmt", "json"]

FORMS: tuple[str, ...] = get_args(Form)
OTHER = "other"
TEMPLATE = re.compile(
    r"event=(?P<event>[a-z_]+)(?P<fields>(?: [a-z_]+=%[^\s%]*[a-z](?!\S))*)(?: (?P<sentence>.*))?", re.DOTALL
)
FIELD = re.compile(r" ([a-z_]+)=(\S+)")
BARE = re.compile(r"[^\s\"=\\]+")
# https://0pointer.de/blog/projects/journal-submit.html: journald reads the priority at the start of a line.
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def set_up(level: str, form: str = "auto") -> None:
    """Log records of this level (debug, info, warning, error) or above to stderr.

    The form auto is logfmt; if stderr goes to journald, it omits the time and adds the priority.
    """
    formatter: logging.Formatter = Logfmt(with_priority=form == "auto" and is_journald(sys.stderr))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def is_journald(stream: TextIO) -> bool:
    """Return whether systemd connected this stream to its journal (systemd.exec(5): JOURNAL_STREAM)."""
    try:
        place = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{place.st_dev}:{place.st_ino}"


class Event(NamedTuple):
    """The parts of a record: its event, its fields in order, and its sentence, which may be empty."""

    name: str
    fields: dict[str, Any]
    sentence: str


@cache
def template_of(text: str) -> tuple[str, tuple[tuple[str, str], ...], str] | None:
    """Return the event, the fields as (name, format of the value) and the sentence of a log message."""
    match = TEMPLATE.fullmatch(text)
    return match and (match["event"], tuple(FIELD.findall(match["fields"])), match["sentence"] or "")


def event_of(record: logging.LogRecord) -> Event:
    template = template_of(record.msg) if isinstance(record.msg, str) else None
    if template is None or not isinstance(record.args, tuple | None):
        return Event(OTHER, {}, record.getMessage())
    name, forms, sentence = template
    values = record.args or ()
    fields = {field: _number_or(form % value, value) for (field, form), value in zip(forms, values, strict=False)}
    return Event(name, fields, sentence % values[len(forms) :] if values else sentence)


def _number_or(text: str, value: Any) -> Any:
    """Return a number as it was formatted, any other value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text
    return value if isinstance(value, int) else float(text)


class Line(logging.Formatter):
    """Splits a record into `time` (RFC 3339, UTC), `level`, `event`, its fields, `message` and `traceback`."""

    def items(self, record: logging.LogRecord) -> dict[str, Any]:
        name, fields, sentence = event_of(record)
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        items = {"time": time, "level": record.levelname.lower(), "event": name, **fields}
        if sentence:
            items["message"] = sentence
        if record.exc_info:
            items["traceback"] = self.formatException(record.exc_info)
        return items


class Json(Line):
    """Formats a record as one JSON object on a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.items(record))


class Logfmt(Line):
    """Formats a record as `name=value` pairs. With `with_priority` it omits the time and prefixes the priority."""

    def __init__(self, *, with_priority: bool = False) -> None:
        super().__init__()
        self.with_priority = with_priority

    def format(self, record: logging.LogRecord) -> str:
        items = self.items(record)
        head = ""
        if self.with_priority:
            del items["time"]
            head = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return head + " ".join(f"{name}={_logfmt_value(value)}" for name, value in items.items())


def _logfmt_value(value: Any) -> str:
    """Return a value for logfmt, in quotes if it has blanks or special characters."""
    text = str(value)
    if BARE.fullmatch(text) and text.isprintable():
        return text
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(character: str) -> str:
    """Escape a character within quotes if it acts on a terminal or ends a line."""
    if character in ESCAPES:
        return ESCAPES[character]
    return character if character.isprintable() else f"\\u{ord(character):04x}"
