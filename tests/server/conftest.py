"""A server that takes a turn when asked to."""

import pytest
from support.rigs import InProcessServer

from kvd.storage.files import journal as journal_module


@pytest.fixture
def make_rig(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "WAL_PRESIZED_BYTES", 1 << 16)
    rigs = []

    def make(**options):
        rigs.append(InProcessServer(tmp_path, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()
