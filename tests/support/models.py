"""A second implementation of the commands, as simple as can be: a dict, a list of changes, no disk."""

from copy import copy
from typing import Any, NamedTuple

from kvd.commands import Command
from kvd.limits import INTEGER_MAX, ONCE_KEPT_MS


class Cell(NamedTuple):
    """The model's record of a key."""

    value: bytes
    revision: int
    created: int
    expires: int | None


class Refusal(Exception):
    """The code of an error."""


def must(holds: object, code: str = "CONFLICT") -> None:
    if not holds:
        raise Refusal(code)


class Model:
    def __init__(self) -> None:
        self.now = 0
        self.cells: dict[bytes, Cell] = {}
        self.changes: list[tuple] = []
        self.tokens: dict[bytes, tuple] = {}
        self.compacted = 0

    def copy(self) -> "Model":
        other = copy(self)
        other.cells, other.changes, other.tokens = dict(self.cells), list(self.changes), dict(self.tokens)
        return other

    @property
    def revision(self) -> int:
        return len(self.changes)

    def apply(self, command: Command, now: int) -> Any:
        """Return (revision, result), or the code of an error: then nothing is changed."""
        self.now = now
        before = self.copy()
        try:
            return self.reply(command)
        except Refusal as refusal:
            vars(self).update(vars(before))
            return str(refusal)

    def reply(self, command: Command) -> tuple[int, Any]:
        if command.command_name() in ("ONCE", "CHANGES"):
            return getattr(self, command.command_name().lower())(command)
        result = self.run(command)
        return self.revision, result

    def run(self, command: Command) -> Any:
        return getattr(self, command.command_name().lower())(command)

    # Cells

    def live(self, key: bytes) -> Cell | None:
        cell = self.cells.get(key)
        return None if cell is None or (cell.expires is not None and cell.expires <= self.now) else cell

    def keys(self, prefix: bytes = b"") -> list[bytes]:
        return sorted(key for key in self.cells if key.startswith(prefix) and self.live(key))

    def due(self) -> list[bytes]:
        return sorted(key for key in self.cells if not self.live(key))

    def end(self, kind: str, key: bytes) -> None:
        cell = self.cells.pop(key)
        self.changes.append((kind, self.revision + 1, key, None, cell.revision, None, self.now))

    def put(self, key: bytes, value: bytes, expires: int | None) -> None:
        if key in self.cells and not self.live(key):
            self.end("EXPIRED", key)
        old = self.cells.get(key)
        revision = self.revision + 1
        self.changes.append(("SET", revision, key, value, old.revision if old else 0, expires, self.now))
        self.cells[key] = Cell(value, revision, old.created if old else revision, expires)

    def sweep(self, keys: list[bytes], now: int) -> int:
        self.now = now
        due = [key for key in keys if key in self.cells and not self.live(key)]
        for key in due:
            self.end("EXPIRED", key)
        return len(due)

    # Values

    def get(self, command):
        cell = self.live(command.key)
        return cell and cell.value

    def set(self, command):
        cell = self.live(command.key)
        must(not (command.nx and cell))
        must(cell or not command.xx)
        must(command.revision in (None, cell.revision if cell else 0))
        expires = command.at if command.ttl is None else self.now + command.ttl
        if command.keep_ttl:
            expires = cell.expires if cell else None
        self.put(command.key, command.value, expires)
        return cell.value if cell and command.previous else None

    def check(self, key, revision):
        cell = self.live(key)
        must(revision in (None, cell.revision if cell else 0))

    def clear(self, command):
        must(command.revision is None or len(command.keys) == 1, "BAD_ARGUMENT")
        self.check(command.keys[0], command.revision)
        return sum(self.clear_one(key) for key in command.keys)

    def clear_one(self, key: bytes) -> int:
        if not self.live(key):
            return 0
        self.end("CLEAR", key)
        return 1

    def multiget(self, command):
        return [cell.value if (cell := self.live(key)) else None for key in command.keys]

    def multiset(self, command):
        must(command.ttl is None or command.at is None, "BAD_ARGUMENT")
        for key, value in command.pairs:
            self.put(key, value, command.at if command.ttl is None else self.now + command.ttl)

    def take(self, command):
        self.check(command.key, command.revision)
        cell = self.live(command.key)
        self.clear_one(command.key)
        return cell and cell.value

    def takefirst(self, command):
        keys = self.keys(command.prefix)
        if not keys:
            return None
        value = self.cells[keys[0]].value
        self.clear_one(keys[0])
        return keys[0], value

    def incr(self, command):
        cell = self.live(command.key) or Cell(b"0", 0, 0, None)
        must(cell.value.lstrip(b"-").isdigit() and cell.value == b"%d" % int(cell.value), "WRONG_TYPE")
        number = int(cell.value) + (1 if command.by is None else command.by)
        must(-INTEGER_MAX - 1 <= number <= INTEGER_MAX, "WRONG_TYPE")
        self.put(command.key, str(number).encode(), cell.expires)
        return number

    def append(self, command):
        cell = self.live(command.key) or Cell(b"", 0, 0, None)
        self.put(command.key, cell.value + command.value, cell.expires)
        return len(cell.value + command.value)

    def getrange(self, command):
        cell = self.live(command.key)
        return cell and self.part(cell.value, command.start, command.end)

    def part(self, value, start, end):
        first = start if start >= 0 else len(value) + start
        last = end if end >= 0 else len(value) + end
        return bytes(byte for place, byte in enumerate(value) if first <= place <= last)

    def strlen(self, command):
        cell = self.live(command.key)
        return cell and len(cell.value)

    # Keys

    def exists(self, command):
        return sum(self.live(key) is not None for key in command.keys)

    def entry(self, command):
        cell = self.live(command.key)
        return cell and {
            "revision": cell.revision,
            "created": cell.created,
            "expires": cell.expires,
            "size": len(cell.value),
            **self.value_of(cell, command),
        }

    def value_of(self, cell, command):
        if command.start is command.end is None:
            return {"value": cell.value} if command.value else {}
        start = 0 if command.start is None else command.start
        return {"value": self.part(cell.value, start, -1 if command.end is None else command.end)}

    def scan(self, command):
        must(not (command.values and command.sizes), "BAD_ARGUMENT")
        keys = [
            key
            for key in self.keys(command.prefix or b"")
            if (command.start is None or key >= command.start) and (command.stop is None or key < command.stop)
        ]
        if command.reverse:
            keys = [key for key in reversed(keys) if command.after is None or key < command.after]
        else:
            keys = [key for key in keys if command.after is None or key > command.after]
        page = keys[: command.limit or 100]
        items = [self.item(key, command) for key in page]
        return [items, page[-1] if len(keys) > len(page) else None]

    def item(self, key, command):
        value, revision, _, expires = self.cells[key]
        if command.values or command.sizes:
            return key, value if command.values else len(value), revision, expires
        return key

    def count(self, command):
        return len(self.keys(command.prefix or b""))

    def clearprefix(self, command):
        return sum(self.clear_one(key) for key in self.keys(command.prefix)[: command.limit])

    # Expiry

    def expire(self, command):
        self.check(command.key, command.revision)
        cell = self.live(command.key)
        if cell:
            self.put(command.key, cell.value, self.now + command.ttl)
        return int(cell is not None)

    def persist(self, command):
        self.check(command.key, command.revision)
        cell = self.live(command.key)
        if not cell or cell.expires is None:
            return 0
        self.put(command.key, cell.value, None)
        return 1

    def ttl(self, command):
        cell = self.live(command.key)
        return cell and (-1 if cell.expires is None else cell.expires - self.now)

    def getex(self, command):
        cell = self.live(command.key)
        expires = command.at if command.ttl is None else self.now + command.ttl
        if cell and (expires is not None or (command.persist and cell.expires is not None)):
            self.put(command.key, cell.value, expires)
        return cell and cell.value

    # Atomic

    def transaction(self, command):
        for key, revision in command.conditions:
            cell = self.live(key)
            must(revision == (cell.revision if cell else 0))
        return [self.run(step) for step in command.commands]

    def once(self, command):
        body, revision, result, time = self.tokens.get(command.token, (None, 0, None, -ONCE_KEPT_MS))
        if time <= self.now - ONCE_KEPT_MS:
            result = self.run(command.write)
            self.tokens[command.token] = (command.write, self.revision, result, self.now)
            return self.revision, result
        must(body == command.write)
        return revision, result

    # Changes

    def compact(self, command):
        must(command.revision <= self.revision, "BAD_ARGUMENT")
        self.compacted = max(self.compacted, command.revision)
        return self.compacted

    def history(self, command):
        before = self.revision + 1 if command.before is None else command.before
        kept = self.changes[self.compacted :]
        found = [change for change in reversed(kept) if change[2] == command.key and change[1] < before]
        limit = command.limit or 100
        return [found[:limit], found[limit - 1][1] if len(found) > limit else None]

    def changes_after(self, since: int, prefix: bytes) -> list[tuple]:
        return [change for change in self.changes[since:] if change[2].startswith(prefix)]


def changes_reply(model: Model, command: Command) -> tuple[int, list[tuple]]:
    must(command.since >= model.compacted, "COMPACTED")
    must(command.since <= model.revision, "BAD_ARGUMENT")
    found = model.changes_after(command.since, command.prefix or b"")
    limit = command.limit or 1_000
    return (found[limit - 1][1], found[:limit]) if len(found) > limit else (model.revision, found)
