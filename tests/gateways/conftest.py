"""Gateways, each beside a daemon as another process."""

import pytest
from support.processes import Gateway


@pytest.fixture
def make_gateway(tmp_path_factory):
    """Make gateways, started; all are stopped at the end."""
    made = []

    def make(kind: str, url: str, *options: str, **how) -> Gateway:
        made.append(Gateway(tmp_path_factory.mktemp("g"), kind, url, *options, **how))
        return made[-1].start()

    yield make
    for gateway in made:
        if gateway.process is not None:
            gateway.stop()
