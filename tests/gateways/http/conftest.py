"""One daemon and one HTTP gateway for all the tests of a file: to start them takes longer than most tests."""

import pytest
from support import browser
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


@pytest.fixture(scope="module")
def chromium():
    """Return a browser; tests that need one are marked `browser`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    if not browser.CHROMIUM.exists():
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright.expect.set_options(timeout=browser.PATIENCE_MS)
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(browser.CHROMIUM), args=browser.ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def site(chromium, web):
    """Return the page of the gateway that tests share."""
    made = browser.Site(chromium, web.gateway.address)
    yield made
    made.close()


@pytest.fixture
def gateway(make_gateway, daemon):
    """Return a gateway to kill, with a daemon whose revisions begin at 1."""
    return make_gateway("http", daemon.commands)


@pytest.fixture
def own_kv(daemon):
    with daemon.client() as client:
        yield client


@pytest.fixture
def own_site(chromium, gateway):
    made = browser.Site(chromium, gateway.address)
    yield made
    made.close()
