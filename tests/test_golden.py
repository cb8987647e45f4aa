"""The bytes on the wire and the rows on the disk are golden.

They are in tests/golden/*.txt, a line each: a name, two blanks, the bytes in hex (or a row as text). This file, run as
a program, adds the lines of new commands and error codes:

    .venv/bin/python tests/test_golden.py

It refuses to change a line, because a changed line breaks all clients and all data directories. If the change is the
purpose of your work, edit the line by hand. A command without samples below is sampled by its examples.
"""

import sys
from pathlib import Path

import pytest
from msgspec import Raw
from support.golden import GOLDEN, golden_lines

from kvd import wire
from kvd.commands import COMMANDS
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Ok
from kvd.commands.changes import Changes, Compact, History
from kvd.commands.expiry import Expire, GetEx, Persist, Ttl
from kvd.commands.inspection import Clients, SlowLog
from kvd.commands.keys import ClearPrefix, Count, EntryOf, Exists, Scan
from kvd.commands.model import KINDS, Change
from kvd.commands.server import Backup, Check, Commands, Config, Info, Ping
from kvd.commands.values import Append, Clear, Get, GetRange, Incr, MultiGet, MultiSet, Set, StrLen, Take, TakeFirst
from kvd.engine.engine import Engine
from kvd.errors import CODES, refusal
from kvd.storage import Store
from kvsh.grammar.parse import parse

TIME = 1_700_000_000_000

COMMAND_SAMPLES = [
    Get(b"city"),
    Set(b"city", b"Ahmedabad"),
    Set(b"city", b"Surat", ttl=60_000, nx=True, previous=True),
    Set(b"city", b"Surat", at=TIME, revision=7),
    Set(b"city", b"Surat", keep_ttl=True, xx=True),
    Clear([b"city", b"\x00\xff"]),
    Clear([b"city"], 7),
    MultiGet([b"city", b"country"]),
    MultiSet([(b"city", b"Surat"), (b"country", b"India")]),
    MultiSet([(b"city", b"Surat")], 60_000),
    MultiSet([(b"city", b"Surat")], at=TIME),
    Take(b"city"),
    Take(b"city", 7),
    TakeFirst(b"job:"),
    TakeFirst(b"job:", 10_000),
    Incr(b"visits"),
    Incr(b"visits", -(2**63)),
    Append(b"log", b"line\n"),
    GetRange(b"log", 0, 99),
    GetRange(b"log", -100, -1),
    StrLen(b"log"),
    Exists([b"city"]),
    EntryOf(b"city"),
    EntryOf(b"city", value=True),
    EntryOf(b"log", start=0, end=99),
    EntryOf(b"log", value=True, end=-1),
    Scan(),
    Scan(b"user:", b"user:1", 2, values=True),
    Scan(start=b"user:1", stop=b"user:5"),
    Scan(b"user:", reverse=True),
    Scan(b"user:", sizes=True),
    Count(),
    Count(b"user:"),
    ClearPrefix(b"user:"),
    ClearPrefix(b"", 100_000),
    Expire(b"session", 60_000),
    Expire(b"session", 60_000, 7),
    Persist(b"session"),
    Persist(b"session", 7),
    Ttl(b"session"),
    GetEx(b"session", 60_000),
    GetEx(b"session", at=TIME),
    GetEx(b"session", persist=True),
    Transaction([(b"city", 7)], [Set(b"city", b"Surat"), Get(b"city")]),
    Transaction([], [Clear([b"city"]), Clear([b"city"], 7)]),
    Once(b"5f2c9d1e", Incr(b"visits")),
    Once(b"5f2c9d1f", Take(b"city")),
    Changes(0),
    Changes(41, b"user:", 10, 1000),
    History(b"city"),
    History(b"city", 41, 10),
    Compact(41),
    Ping(),
    Ping(b"hello"),
    Info(),
    Info("store"),
    Commands(),
    Commands("set"),
    Config(),
    Config("fsync"),
    Check(),
    Backup("monday.kvd"),
    SlowLog(),
    SlowLog(100, reset=True),
    Clients(),
]
CHANGE_SAMPLES = [
    Change("SET", 1, b"city", b"Ahmedabad", 0, None, TIME),
    Change("SET", 2, b"session", b"", 1, TIME + 60_000, TIME),
    Change("CLEAR", 3, b"city", None, 1, None, TIME),
    Change("EXPIRED", 2**40, b"session", None, 2, None, TIME),
]
RESULTS = [
    ("nil", None),
    ("bytes", b"Ahmedabad"),
    ("number", -1),
    ("array", [b"Ahmedabad", None]),
    ("page", [[(b"a", b"1", 7, None)], b"a"]),
    ("map", {"revision": 7, "created": 1, "expires": None, "size": 9}),
    ("changes", CHANGE_SAMPLES[:1]),
    ("again", Raw(b"\x01")),
]


def samples():
    """Return the samples of all commands, in the order of the classes."""
    sampled = {type(sample) for sample in COMMAND_SAMPLES}
    others = [parse(line.encode()) for cls in COMMANDS.values() if cls not in sampled for line in cls.examples]
    order = list(COMMANDS)
    return sorted([*COMMAND_SAMPLES, *others], key=lambda sample: order.index(sample.command_name()))


def command_lines():
    numbers = {}
    for sample in samples():
        name = sample.command_name()
        numbers[name] = numbers.get(name, 0) + 1
        yield f"{name}.{numbers[name]}", wire.encode_command(sample).hex()


def reply_lines():
    for name, result in RESULTS:
        yield f"OK.{name}", wire.encode(Ok(7, result)).hex()
    for code in CODES:
        yield f"ERROR.{code}", wire.encode(wire.error_reply(refusal(code, "a sentence", {"revision": 7}))).hex()


def publication_lines():
    for sample in CHANGE_SAMPLES:
        kind = next(kind for kind, name in KINDS.items() if name == sample.kind)
        row = (sample.revision, kind, sample.key, sample.value, sample.previous, 0, sample.expires, sample.time)
        [topic], [body] = wire.encode_changes([row])
        yield f"{sample.kind}.{sample.revision}.topic", topic.hex()
        yield f"{sample.kind}.{sample.revision}.body", body.hex()
    yield "control.topic", wire.CONTROL_TOPIC.hex()
    yield "HEARTBEAT", wire.heartbeat(7, TIME).hex()
    yield "COMPACTED", wire.encode_compacted(7).hex()


PROGRAM = [
    Set(b"city", b"Ahmedabad"),
    Set(b"session", b"8f3a", ttl=60_000),
    Set(b"city", b"Surat"),
    Set(b"gone", b""),
    Clear([b"gone"]),
    Expire(b"city", 1),
    Once(b"5f2c9d1e", Incr(b"visits")),
    Set(b"\x00\xff", b"\xff\x00"),
]


def text_of(row):
    return " ".join(
        "nil" if cell is None else cell.hex() or "''" if isinstance(cell, bytes) else str(cell) for cell in row
    )


def row_lines(directory):
    """Run a program at fixed times on a new store, fold it, and yield the rows of both files."""
    store = Store(directory)
    engine = Engine(store)
    for number, command in enumerate(PROGRAM):
        engine.apply(command, TIME + number)
    engine.expire([b"city"], TIME + 10)
    store.commit(engine.staging.take())
    store.maintenance.jobs.begin_fold()
    while store.overlays.folded < store.revision:
        store.maintenance.jobs.finish(store.maintenance.parts.fold_thread.done.get())
    for query, db in (
        ("journal", store.journal.db.execute("SELECT * FROM journal ORDER BY revision")),
        ("once", store.journal.db.execute("SELECT * FROM once")),
        ("entry", store.table.db.execute("SELECT * FROM entry ORDER BY key")),
        ("fold", store.table.db.execute("SELECT revision, entries FROM fold")),
        ("head", store.journal.db.execute("SELECT compacted, length(history) FROM head")),
    ):
        yield from ((f"{query}.{number}", text_of(row)) for number, row in enumerate(db, 1))
    for db in (store.journal.db, store.table.db):
        for name, sql in db.execute(
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%sqlite_%' ORDER BY name"
        ):
            yield f"schema.{name}", sql
    store.close()


def hint(name):
    return f"tests/golden/{name}.txt differs: see the head of tests/test_golden.py before you change it"


@pytest.mark.parametrize(
    ("name", "lines"), [("commands", command_lines), ("replies", reply_lines), ("published", publication_lines)]
)
def test_the_bytes_on_the_wire_are_those_written_down(name, lines):
    assert list(lines()) == golden_lines(name), hint(name)


def test_the_bytes_written_down_are_the_commands():
    assert [wire.decode_command(bytes.fromhex(body)) for _, body in golden_lines("commands")] == samples()


def test_the_rows_on_the_disk_are_those_written_down(tmp_path):
    assert list(row_lines(tmp_path / "data")) == golden_lines("rows"), hint("rows")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_golden_bytes(name):
    lines = [line for line, _ in golden_lines("commands") if line.partition(".")[0] == name]
    assert lines, f"{name} has no golden bytes: run `make generate`"


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_golden_bytes(code):
    assert [line for line, _ in golden_lines("replies") if line == f"ERROR.{code}"], f"{code} has no golden bytes"


def write_all(directory):
    """Write the lines of all files; exit if a line would change."""
    makers = {"commands": command_lines, "replies": reply_lines, "published": publication_lines}
    for name, lines in {**makers, "rows": lambda: row_lines(directory)}.items():
        path, before, after = GOLDEN / f"{name}.txt", dict(golden_lines(name)), list(lines())
        changed = [line for line, text in after if before.get(line, text) != text] + [*before.keys() - dict(after)]
        if changed:
            sys.exit(
                f"{path}: these lines would change or go: {', '.join(changed)}; see the head of tests/test_golden.py"
            )
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        path.write_text("".join(f"{line}\n" for line in [*head, *map("  ".join, after)]))


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as temporary:
        write_all(Path(temporary))
