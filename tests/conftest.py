"""Fixtures of all tests: a daemon as a process of its own, on endpoints of its own."""

import shutil
import signal

import pytest
import zmq
from support.hypotheses import load_profile
from support.places import choose_temporary_folder
from support.running import Daemon

pytest_plugins = ["support.reporting"]

load_profile()
choose_temporary_folder()

# nohup ignores SIGHUP, and a shell without job control makes `make test &` ignore SIGINT. Child processes inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def make_daemon(tmp_path_factory):
    """Make daemons, not started yet, each in a directory of its own; all are stopped at the end."""
    made = []

    def make(*options: str) -> Daemon:
        # Short, because the path of a unix socket has 107 bytes at most.
        made.append(Daemon(tmp_path_factory.mktemp("d"), *options))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.process is not None:
            daemon.stop()
        shutil.rmtree(daemon.directory / "data", ignore_errors=True)  # 50 MB each, 20 GB in a run; the log stays


@pytest.fixture
def daemon(make_daemon):
    """Return a daemon of the test's own: its revisions begin at 1, and it may be killed."""
    return make_daemon().start()


@pytest.fixture(scope="session")
def common_daemon(tmp_path_factory):
    """Return a daemon that the tests of this process share; see `empty_daemon`."""
    started = Daemon(tmp_path_factory.mktemp("d")).start()
    yield started
    started.stop()


@pytest.fixture
def empty_daemon(common_daemon):
    """Return the shared daemon without entries; its counters and revisions are not reset.

    A file with tests that only need a daemon has a fixture `daemon` that returns this one.
    """
    with common_daemon.client() as kv:
        kv.clear_prefix("")
    return common_daemon


@pytest.fixture
def kv(daemon):
    with daemon.client() as client:
        yield client


@pytest.fixture
def context():
    """Return a context that ends with the test, however that ends."""
    made = zmq.Context()
    yield made
    made.destroy(linger=0)
