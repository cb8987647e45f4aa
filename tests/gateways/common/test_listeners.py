"""The listening sockets of a gateway, and the removal of unix socket files."""

import os
import socket

import pytest

from kvd.errors import InUse
from kvd.gateways.common.listeners import close_listeners, open_listeners


@pytest.fixture
def systemd_socket(monkeypatch, tmp_path):
    """Return the path of a socket that is systemd_socket as by systemd."""
    path = tmp_path / "systemd_socket.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        monkeypatch.setattr(
            "kvd.gateways.common.listeners.socket_descriptors", lambda: [("one", os.dup(sock.fileno()))]
        )
        yield path


def open_sockets(*paths):
    return open_listeners([f"unix:{path}" for path in paths], "", lambda _: None)


def test_the_files_of_our_own_sockets_are_removed_even_when_these_are_closed(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    sockets = open_sockets(*paths)
    assert all(path.is_socket() for path in paths)
    sockets[0].close()
    close_listeners(sockets)
    assert [*tmp_path.iterdir()] == []


def test_one_that_systemd_passed_stays(systemd_socket, tmp_path):
    close_listeners(open_sockets(tmp_path / "own"))
    assert [*tmp_path.iterdir()] == [systemd_socket]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(systemd_socket))


def test_of_one_that_is_in_use_nothing_is_removed(systemd_socket, tmp_path):
    with pytest.raises(InUse):
        open_sockets(tmp_path / "own", systemd_socket)
    assert [*tmp_path.iterdir()] == [systemd_socket]


def test_the_file_of_who_took_the_place_stays(tmp_path):
    path = tmp_path / "s"
    before = open_sockets(path)
    before[0].close()
    after = open_sockets(path)
    close_listeners(before)
    assert path.is_socket()
    close_listeners(after)
    assert not path.exists()
