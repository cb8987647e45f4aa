"""A daemon for the tests that need one, and kvsh run as a process: with pipes, and on a pty."""

import os
from pathlib import Path

import pytest
from support import forks
from support.kvsh_cases import KVSH
from support.terminal import Terminal

from kvd.client import Client
from kvsh.cli.local import local_daemon

# What a person who runs the tests may have set.
PERSONAL = ("KVSH_", "NO_COLOR", "PAGER", "LESS", "VISUAL", "EDITOR")


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """Return the endpoint of a daemon that all tests share."""
    with local_daemon(str(tmp_path_factory.mktemp("data"))) as endpoint:
        yield endpoint


@pytest.fixture
def kv(daemon):
    """Return a client of the shared daemon, with no keys in it."""
    with Client(daemon, timeout=60) as client:
        for key in list(client.scan()):
            client.clear(key)
        yield client


@pytest.fixture
def environment(daemon, tmp_path):
    """Return an environment in which kvsh talks to the shared daemon."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PERSONAL)}
    homes = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    return {**kept, **homes, "KVSH_URL": daemon}


@pytest.fixture
def configure(environment):
    """Return what writes the configuration file of that environment."""

    def write(text):
        path = Path(environment["XDG_CONFIG_HOME"], "kvsh", "config.toml")
        path.parent.mkdir(parents=True)
        path.write_text(text)

    return write


@pytest.fixture
def kvsh(kv, environment):
    """Return what runs kvsh with arguments and standard input, and gives (code, output, messages)."""

    def run(*arguments, stdin=b"", **changed):
        done = forks.run([*KVSH, *arguments], input=stdin, env={**environment, **changed})
        return done.returncode, done.stdout, done.stderr.decode()

    return run


@pytest.fixture
def terminal(kv, environment):
    """Return what starts kvsh on a pty: `terminal(arguments, size=(rows, columns), VARIABLE=...)`."""
    opened = []

    def start(*arguments, size=(24, 150), **changed):
        changed = {**environment, **changed}
        kept = {name: value for name, value in changed.items() if value is not None}
        opened.append(Terminal(arguments, kept, rows=size[0], columns=size[1]))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def shell(terminal):
    """Return kvsh at its first prompt; it has to leave well."""
    started = terminal()
    started.prompts()
    yield started
    assert started.leave() == 0
