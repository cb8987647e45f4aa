"""One daemon and one HTTP gateway for all the tests of a file: to start them takes longer than most tests."""

import pytest
from support.processes import Gateway
from support.running import Daemon
from support.web import Web


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Return a daemon and an HTTP gateway that the tests of a file share; see `web`."""
    daemon = Daemon(tmp_path_factory.mktemp("d")).start()
    gateway = Gateway(tmp_path_factory.mktemp("g"), "http", daemon.commands).start()
    with daemon.client() as kv:
        yield gateway, kv
    gateway.stop()
    daemon.stop()


@pytest.fixture
def web(shared):
    """Return one who asks the shared gateway; the store is empty, and at the revision `web.now`."""
    gateway, kv = shared
    kv.clear_prefix("")
    return Web(gateway, kv)


@pytest.fixture
def kv(web):
    return web.kv
