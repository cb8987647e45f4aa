"""Each row runs twice: with a commit after each command, and with all of them in one batch."""

import pytest
from support.fakes import Bench


@pytest.fixture(params=["committed", "staged"])
def bench(request) -> Bench:
    return Bench(commits=request.param == "committed")
