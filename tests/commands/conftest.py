"""Each row runs twice: with a commit after each command, and with all of them in one batch."""

import pytest
from support.fakes import EngineOnDict


@pytest.fixture(params=["committed", "staged"])
def bench(request) -> EngineOnDict:
    return EngineOnDict(commits=request.param == "committed")
