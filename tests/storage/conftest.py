"""Stores in directories of their own, with a short WAL so that they open fast."""

import contextlib

import pytest
from support.drives import EngineOnStore

from kvd.storage.files import journal
from kvd.storage.maintenance import fold_thread


@pytest.fixture(autouse=True)
def _short_wal(monkeypatch):
    monkeypatch.setattr(journal, "WAL_PRESIZED_BYTES", 1 << 20)


@pytest.fixture(autouse=True)
def _eager_checkpoints(monkeypatch):
    """Each fold is made durable at once."""
    monkeypatch.setattr(fold_thread, "TABLE_CHECKPOINT_CHANGES", -1)


@pytest.fixture
def make_drive(tmp_path):
    made = []

    def make(name: str = "data", **options) -> EngineOnStore:
        made.append(EngineOnStore(tmp_path / name, **options))
        return made[-1]

    yield make
    for drive in made:
        with contextlib.suppress(Exception):  # the test closed it
            drive.store.close()


@pytest.fixture
def drive(make_drive) -> EngineOnStore:
    return make_drive()
