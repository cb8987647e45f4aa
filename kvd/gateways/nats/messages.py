"""The messages that the NATS bridge publishes for a change, and its stored position. Pure; no I/O and no clock.

    subject set         {"key": "city", "val": "Surat"}
    subject rm          {"key": "city"}                     also for a key that has expired
    subject kvd.KEY     {"revision": 7, "kind": "SET", "key": "city", "value": "Surat"}      with --changes

A key or value that is not UTF-8 is {"base64": ...}, and so is a value if base64 is shorter than its escaped control
characters. Each message has the header Nats-Msg-Id, by which JetStream drops duplicates: HISTORY-REVISION, followed by
the subject for the first two, since a stream can hold both. It includes the history because another store, or a
restored one, has the same revisions with other changes.
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
# The server limits a protocol line to 4,096 bytes, which also contains an inbox and sizes.
SUBJECT_BYTES_MAX = 3 * 1024
KEY_TEXT_BYTES_MAX = 200
HEADERS_BYTES = 256  # the part of max_payload that is reserved for headers
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Bytes that a subject's token contains unescaped. Others are %XX: white space, wildcards, everything not ASCII.
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:/=+@,;!$&'()~#")
DOT = ord(".")


class BridgeEnded(KvdError):
    """The bridge cannot continue until an operator decides how."""


class Message(NamedTuple):
    """A message about a change of a key. `id` is its Nats-Msg-Id.

    `left_out_bytes`: the size of the value, if it was too large for the server and left out.
    """

    subject: str
    body: bytes
    id: str
    key: bytes
    left_out_bytes: int | None = None

    @property
    def key_text(self) -> str:
        """Return the key for messages to people, shortened."""
        return self.key[:KEY_TEXT_BYTES_MAX].decode("utf-8", "backslashreplace")


class Position(NamedTuple):
    """The last revision that a bridge has published, and the bridge that wrote this."""

    history: str
    revision: int
    writer: str


def subject_of(key: bytes) -> str:
    """Return the subject of a key's changes. `key_of` is the inverse.

    Dots remain separators of tokens, so kvd.user.* matches a prefix; a dot that would leave a token empty is escaped.
    A key too long for a subject becomes kvd.%long.SHA256; only the message contains it.
    """
    parts = []
    for at, byte in enumerate(key):
        is_plain = byte in PLAIN or (byte == DOT and 0 < at < len(key) - 1 and key[at - 1] != DOT)
        parts.append(chr(byte) if is_plain else f"%{byte:02X}")
    subject = ROOT + "".join(parts)
    return subject if len(subject) <= SUBJECT_BYTES_MAX else f"{ROOT}%long.{hashlib.sha256(key).hexdigest()}"


def key_of(subject: str) -> bytes | None:
    """Return the key of a subject; None if the key was too long for one."""
    text = subject.removeprefix(ROOT)
    if text.startswith("%long."):
        return None
    escaped = re.compile(rb"%([0-9A-F]{2})")
    return escaped.sub(lambda match: bytes([int(match[1], 16)]), text.encode())


def _encode_facts(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()


def messages_of(change: Change, history: str, payload_max: int, *, with_changes: bool) -> Iterator[Message]:
    """Yield the messages for a change. Raises BridgeEnded."""
    number = f"{history}-{change.revision}"
    subject = "rm" if change.value is None else "set"
    facts: dict[str, Any] = {"key": encode_bytes(change.key)}
    yield _message(subject, facts, "val", change, f"{number}-{subject}", payload_max)
    if with_changes:
        facts = {"revision": change.revision, "kind": change.kind, "key": encode_bytes(change.key)}
        yield _message(subject_of(change.key), facts, "value", change, number, payload_max)


def _message(subject: str, facts: dict[str, Any], name: str, change: Change, number: str, payload_max: int) -> Message:
    """Return a message with a value; without it, and marked, if it exceeds the server's limit. Raises BridgeEnded."""
    body_max, value = payload_max - HEADERS_BYTES, change.value
    if value is None or len(value) <= body_max:
        body = _encode_facts(facts if value is None else {**facts, name: bytes_to_json(value)})
        if len(body) <= body_max:
            return Message(subject, body, number, change.key)
    body = _encode_facts({**facts, name: None, "too_large": True, "bytes": len(value or b"")})
    if len(body) > body_max:
        raise BridgeEnded(
            f"the NATS server accepts {payload_max} bytes a message: a change of the key "
            f"{Message(subject, body, number, change.key).key_text!r} needs {len(body) + HEADERS_BYTES}"
        )
    return Message(subject, body, number, change.key, len(value or b""))


def position_key(name: str) -> bytes:
    """Return the key that stores a bridge's position. Raises BadConfiguration."""
    if not NAME.fullmatch(name):
        raise BadConfiguration(f"{name}: --name takes 1 to 64 letters, digits, - and _")
    return OWN_PREFIX + name.encode()


def position_bytes(position: Position) -> bytes:
    """Return the stored form of a position."""
    return _encode_facts(position._asdict())


def parse_position(value: bytes) -> Position | None:
    """Return the position in a stored value, None if it is not one."""
    try:
        facts = json.loads(value)
        position = Position(str(facts["history"]), int(facts["revision"]), str(facts["writer"]))
    except (ValueError, TypeError, LookupError):
        return None
    return position if position.revision >= 0 else None


def covers(pattern: str, subject: str) -> bool:
    """Return whether a stream's pattern, which may have wildcards, matches a subject."""
    parts, tokens = pattern.split("."), subject.split(".")
    for at, part in enumerate(parts):
        if part == ">":
            return len(tokens) > at
        if at >= len(tokens) or part not in ("*", tokens[at]):
            return False
    return len(parts) == len(tokens)


def is_covered(patterns: Sequence[str], subject: str) -> bool:
    """Return whether any of the patterns matches a subject."""
    return any(covers(pattern, subject) for pattern in patterns)
