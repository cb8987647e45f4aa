"""A daemon that lets in only whom it knows."""

import signal
import time

import pytest
from support.doors import AccessFiles


@pytest.fixture
def doors(tmp_path):
    return AccessFiles(tmp_path)


@pytest.fixture
def access_daemon(make_daemon, doors):
    """Return a running daemon with keys; its client is the admin, root."""
    daemon = make_daemon("--log-level", "debug", *doors.options)
    daemon.keys = doors.keys("root")
    return daemon.start()


@pytest.fixture
def reread(access_daemon, doors):
    """Rewrite the access file and let the daemon read it; return when it has."""

    def write(**clients):
        doors.write(root={"role": "admin"}, **clients)
        seen = access_daemon.log.read_text().count("event=access_read")
        access_daemon.signal(signal.SIGHUP)
        limit = time.monotonic() + 60
        while access_daemon.log.read_text().count("event=access_read") == seen:
            assert time.monotonic() < limit
            time.sleep(0.01)

    return write
