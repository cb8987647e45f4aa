"""What the NATS bridge publishes of a change, and what it keeps of how far it is. Pure; no I/O and no clock.

    subject set         {"key": "city", "val": "Surat"}
    subject rm          {"key": "city"}                     also of a key that has expired
    subject kvd.KEY     {"revision": 7, "kind": "SET", "key": "city", "value": "Surat"}      with --changes

A key or value that is not UTF-8 is {"base64": ...}, and so is a value whose control characters would take more room
than that. Each has the header Nats-Msg-Id, by which JetStream drops what it
has already: HISTORY-REVISION, and for the first two the subject behind it, since a stream may hold both. The history is
in it because another store, or one that was restored, has the same revisions with other changes.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kvd.commands.model import Change
from kvd.errors import BadConfiguration, KvdError
from kvd.gateways.common.json_pieces import bytes_to_json
from kvd.json_bytes import encode_bytes

OWN_PREFIX = b"kvd:nats:"
ROOT = "kvd."
# The server's limit for a protocol line is 4,096 bytes, in which an inbox and sizes stand besides.
SUBJECT_BYTES_MAX = 3 * 1024
KEY_TEXT_BYTES_MAX = 200
HEADERS_BYTES = 256  # how much of max_payload they take at most
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What a token of a subject may hold as it is. All else is %XX: white space, the wildcards, what is not ASCII.
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:/=+@,;!$&'()~#")
DOT = ord(".")


class BridgeEnded(KvdError):
    """There is no going on without somebody who decides."""


class Message(NamedTuple):
    """What is published of a change of a key. `id` is for JetStream.

    `left_out_bytes`: how many the value has, if it was too large for the server.
    """

    subject: str
    body: bytes
    id: str
    key: bytes
    left_out_bytes: int | None = None

    @property
    def key_text(self) -> str:
        """Return the key for a person, cut."""
        return self.key[:KEY_TEXT_BYTES_MAX].decode("utf-8", "backslashreplace")


class Position(NamedTuple):
    """How far a bridge is, and who wrote it."""

    history: str
    revision: int
    writer: str


def subject_of(key: bytes) -> str:
    """Return the subject of a key's changes: `key_of` has it back.

    Dots stay what they are, ends of tokens, so that kvd.user.* is a prefix; one that would leave a token empty is
    escaped. A key too long for a subject has kvd.%long.SHA256, and stands in the message alone.
    """
    parts = []
    for at, byte in enumerate(key):
        is_plain = byte in PLAIN or (byte == DOT and 0 < at < len(key) - 1 and key[at - 1] != DOT)
        parts.append(chr(byte) if is_plain else f"%{byte:02X}")
    subject = ROOT + "".join(parts)
    return subject if len(subject) <= SUBJECT_BYTES_MAX else f"{ROOT}%long.{hashlib.sha256(key).hexdigest()}"


def key_of(subject: str) -> bytes | None:
    """Return the key that a subject was made of; None of one that was too long."""
    text = subject.removeprefix(ROOT)
    if text.startswith("%long."):
        return None
    escaped = re.compile(rb"%([0-9A-F]{2})")
    return escaped.sub(lambda found: bytes([int(found[1], 16)]), text.encode())


def _encode_facts(facts: dict[str, Any]) -> bytes:
    """Return JSON."""
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()


def messages_of(change: Change, history: str, payload_max: int, *, with_changes: bool) -> Iterator[Message]:
    """Yield what is published of a change. Raises BridgeEnded."""
    number = f"{history}-{change.revision}"
    subject = "rm" if change.value is None else "set"
    facts: dict[str, Any] = {"key": encode_bytes(change.key)}
    yield message(subject, facts, "val", change, f"{number}-{subject}", payload_max)
    if with_changes:
        facts = {"revision": change.revision, "kind": change.kind, "key": encode_bytes(change.key)}
        yield message(subject_of(change.key), facts, "value", change, number, payload_max)


def message(subject: str, facts: dict[str, Any], name: str, change: Change, number: str, payload_max: int) -> Message:
    """Return a message with a value; without it, and marked, where the server would not take it. Raises BridgeEnded."""
    most, value = payload_max - HEADERS_BYTES, change.value
    if value is None or len(value) <= most:
        body = _encode_facts(facts if value is None else {**facts, name: bytes_to_json(value)})
        if len(body) <= most:
            return Message(subject, body, number, change.key)
    body = _encode_facts({**facts, name: None, "too_large": True, "bytes": len(value or b"")})
    if len(body) > most:
        raise BridgeEnded(
            f"the NATS server takes {payload_max} bytes a message: a change of the key "
            f"{Message(subject, body, number, change.key).key_text!r} needs {len(body) + HEADERS_BYTES}"
        )
    return Message(subject, body, number, change.key, len(value or b""))


def position_key(name: str) -> bytes:
    """Return the key under which a bridge keeps its position. Raises BadConfiguration."""
    if not NAME.fullmatch(name):
        raise BadConfiguration(f"{name}: --name takes 1 to 64 letters, digits, - and _")
    return OWN_PREFIX + name.encode()


def position_bytes(position: Position) -> bytes:
    """Return a position as it is kept."""
    return _encode_facts(position._asdict())


def position_in(value: bytes) -> Position | None:
    """Return the position that is kept in a value, None when it holds none."""
    try:
        facts = json.loads(value)
        position = Position(str(facts["history"]), int(facts["revision"]), str(facts["writer"]))
    except (ValueError, TypeError, LookupError):
        return None
    return position if position.revision >= 0 else None


def covers(pattern: str, subject: str) -> bool:
    """Return whether a stream's subject, which may have wildcards, holds a subject."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(tokens) > at
        if at >= len(tokens) or part not in ("*", tokens[at]):
            return False
    return len(wanted) == len(tokens)


def is_covered(patterns: Sequence[str], subject: str) -> bool:
    """Return whether any stream holds a subject."""
    return any(covers(pattern, subject) for pattern in patterns)
