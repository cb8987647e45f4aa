"""A data directory as `kill -9` leaves it, copied, damaged, and judged: the truth is known from outside."""

import ast
import contextlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from sqlite_utils.utils import sqlite3

from kvd.commands.values import Clear, Set
from kvd.errors import Corrupt, Refused, StartError
from kvd.storage import Store, check, salvage
from kvd.storage.files.journal import read_mark
from kvd.storage.files.sqlite import connect_read_only
from support.drives import EngineOnStore

FILES = ("journal.db", "journal.db-wal", "table.db", "table.db-wal")


@dataclass
class Truth:
    """The acknowledged writes: every value of each key by revision, None where it was cleared."""

    history: dict[bytes, dict[int, bytes | None]] = field(default_factory=dict)
    revision: int = 0

    def write(self, drive: EngineOnStore, *pairs: tuple[bytes, bytes | None]) -> None:
        """Commit some changes as one batch. Only keys that are there are cleared."""
        drive.apply(*[Clear([key]) if value is None else Set(key, value) for key, value in pairs])
        for key, value in pairs:
            self.revision += 1
            self.history.setdefault(key, {})[self.revision] = value
        assert drive.store.revision == self.revision

    def at(self, revision: int) -> dict[bytes, bytes]:
        """Return all entries as they were when this was the last revision."""
        found = {}
        for key, values in self.history.items():
            known = [at for at in values if at <= revision]
            if known and values[max(known)] is not None:
                found[key] = values[max(known)]
        return found


def copy_files(directory: Path, to: Path) -> Path:
    """Copy the files of an open store: what a kill would leave at this moment."""
    to.mkdir()
    for path in directory.iterdir():
        if path.is_file() and path.name != "ballast":
            shutil.copy(path, to / path.name)
    return to


def restore_case(case: Path, template: Path) -> Path:
    """Make a case of a template, in place of the one before."""
    if case.exists():
        shutil.rmtree(case)
    return copy_files(template, case)


def flip(path: Path, place: int, mask: int = 0xFF) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ mask]))


def overwrite(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content[: max(0, path.stat().st_size - place)])


@dataclass
class Found:
    """The result of opening a damaged directory."""

    refused: str | None = None
    notes: list[str] = field(default_factory=list)
    revision: int = 0
    history: str = ""
    values: dict[bytes, bytes | None] = field(default_factory=dict)
    corrupt: set[bytes] = field(default_factory=set)
    walked: dict[bytes, bytes] = field(default_factory=dict)
    damages: list[str] = field(default_factory=list)
    said: str = ""


def open_and_check(directory: Path, truth: Truth) -> Found:
    """Open a store, check it beside that, and read every key that was ever written."""
    found = Found()
    try:
        store = Store(directory)
    except StartError as error:
        found.refused = str(error)
        return found
    try:
        found.notes, found.revision, found.history = store.notes, store.revision, store.history
        found.damages = [str(damage) for damage in check(directory, lambda: None).damages]
        for key in truth.history:
            try:
                entry = store.get(key)
                found.values[key] = None if entry is None else entry.value
            except Corrupt:
                found.corrupt.add(key)
        try:
            found.walked = {entry.key: entry.value for entry in store.scan()}
        except Refused as error:
            found.said = str(error)
    finally:
        store.close()
    return found


def judge_repair(directory: Path, truth: Truth) -> list[str]:
    """Repair a directory and compare what comes of it; return what was reported lost."""
    before = read_history(directory)
    losses = salvage(directory, "damaged").losses
    after = open_and_check(directory, truth)
    assert (after.refused, after.notes, after.damages, after.corrupt, after.said) == (None, [], [], set(), "")
    assert after.history != before, "followers of the old history have to notice"
    last = truth.at(truth.revision)
    unexplained = 0
    for key, value in after.values.items():
        assert value in {*truth.history[key].values(), None}, f"{key!r} has a value it never had"
        if value != last.get(key) and not is_told(key, max(truth.history[key]), losses):
            unexplained += 1
    assert unexplained <= deficit(losses), f"{unexplained} keys are not as they were: {losses}"
    return losses


def read_history(directory: Path) -> str:
    """Return the history's id as the journal has it, if it can be read."""
    try:
        with contextlib.closing(connect_read_only(directory / "journal.db")) as db:
            return read_mark(db)[0]
    except (Corrupt, StartError, sqlite3.DatabaseError, TypeError):
        return "unknown"


SPAN = re.compile(r"the rows after (b'.*?'|b\".*?\"|-?\d+)(?: and before (b'.*'|b\".*\"|\d+))? cannot be read$")


def is_told(key: bytes, revision: int, losses: list[str]) -> bool:
    """Return whether the report says that this key, or its newest change, may be lost."""
    for loss in losses:
        if repr(key) in loss or f"revision {revision} is damaged" in loss:
            return True
        found = re.search(r"the changes (\d+) to (\d+) are lost", loss)
        if found and int(found[1]) <= revision <= int(found[2]):
            return True
        if found := SPAN.search(loss):
            low, high = (None if end is None else ast.literal_eval(end) for end in found.groups())
            at = key if isinstance(low, bytes) else revision
            if low < at and (high is None or at < high):
                return True
    return False


def deficit(losses: list[str]) -> float:
    """Return how many entries may be lost that the report could not name."""
    count = 0
    for loss in losses:
        if found := re.search(r"(\d+) of (\d+) entries are whole", loss):
            count += int(found[2]) - int(found[1])
        elif (
            "cannot be told" in loss
            or "it cannot be read" in loss
            or "-wal" in loss
            or "is missing" in loss
            or "it ends at" in loss
        ):
            return float("inf")
    return count
