"""A daemon that lets in only whom it knows."""

import signal
import time

import pytest
from support.doors import Doors


@pytest.fixture
def doors(tmp_path):
    return Doors(tmp_path)


@pytest.fixture
def guarded(make_daemon, doors):
    """Return a running daemon with keys; its client is the admin, root."""
    daemon = make_daemon("--log-level", "debug", *doors.options)
    daemon.keys = doors.keys("root")
    return daemon.start()


@pytest.fixture
def reread(guarded, doors):
    """Write the access file anew and let the daemon read it; return when it has."""

    def write(**clients):
        doors.write(root={"role": "admin"}, **clients)
        seen = guarded.log.read_text().count("event=access_read")
        guarded.signal(signal.SIGHUP)
        limit = time.monotonic() + 60
        while guarded.log.read_text().count("event=access_read") == seen:
            assert time.monotonic() < limit
            time.sleep(0.01)

    return write
