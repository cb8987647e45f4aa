"""One daemon and one HTTP gateway for all tests of a file, because starting them takes longer than most tests."""

import pytest
from support import browser
from support.processes import Gateway
from support.running import Daemon
from support.web import Web


@pytest.fixture(scope="module")
def gateway_of_file(tmp_path_factory):
    """Return a daemon and an HTTP gateway that the tests of a file share; see `web`."""
    daemon = Daemon(tmp_path_factory.mktemp("d")).start()
    gateway = Gateway(tmp_path_factory.mktemp("g"), "http", daemon.commands).start()
    with daemon.client() as kv:
        yield gateway, kv
    gateway.stop()
    daemon.stop()


@pytest.fixture
def web(gateway_of_file):
    """Return a client of the shared gateway; the store is empty, and at the revision `web.now`."""
    gateway, kv = gateway_of_file
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
        chromium_process = driver.chromium.launch(executable_path=str(browser.CHROMIUM), args=browser.ARGUMENTS)
        yield chromium_process
        chromium_process.close()


@pytest.fixture
def site(chromium, web):
    """Return the page of the shared gateway."""
    site = browser.Site(chromium, web.gateway.address)
    yield site
    site.close()


@pytest.fixture
def gateway(make_gateway, daemon):
    """Return a gateway that a test may kill, with a new daemon."""
    return make_gateway("http", daemon.commands)


@pytest.fixture
def own_kv(daemon):
    with daemon.client() as client:
        yield client


@pytest.fixture
def own_site(chromium, gateway):
    site = browser.Site(chromium, gateway.address)
    yield site
    site.close()
