"""INFO counts the connected clients and watchers; CLIENTS lists them."""

import os
import time

from support.running import eventually

from kvd.client import Client
from kvd.commands.inspection import Clients
from kvd.server.sockets.connections import Peer, disconnect, peer_of


def counts(kv):
    traffic = kv.info("traffic")["traffic"]
    return traffic["clients"], traffic["watchers"]


def test_clients_and_watchers_are_counted_as_they_come_and_go(daemon, kv):
    eventually(lambda: counts(kv) == (1, 0))
    others = [Client(daemon.commands) for _ in range(3)]
    for other in others:
        other.ping()
    eventually(lambda: counts(kv) == (4, 0))
    watches = [others[0].watch("a"), others[0].watch()]
    for watch in watches:
        watch.ready()
    # A watch has a connection for its commands too.
    eventually(lambda: counts(kv) == (6, 2))
    watches.pop().close()
    eventually(lambda: counts(kv) == (5, 1))
    for each in [*watches, *others]:
        each.close()
    eventually(lambda: counts(kv) == (1, 0))


def rows(kv):
    return kv.run(Clients())


def test_clients_tells_the_process_behind_a_unix_socket(daemon, kv):
    began = time.time_ns() // 1_000_000
    with kv.watch() as watch:
        watch.ready()
        eventually(lambda: [row["socket"] for row in rows(kv)] == ["commands", "commands", "changes"])
        for row in rows(kv):
            assert (row["transport"], row["address"], row["pid"], row["uid"]) == ("ipc", "", os.getpid(), os.getuid())
            assert began - 60_000 < row["since"] <= time.time_ns() // 1_000_000
        assert rows(kv)[0]["since"] <= rows(kv)[1]["since"]
    eventually(lambda: len(rows(kv)) == 1)


def test_clients_tells_the_address_of_tcp(make_daemon):
    daemon = make_daemon("--listen", "tcp://127.0.0.1:*").start()
    with daemon.client() as local:
        endpoint = local.info("server")["server"]["commands"][1]
        with Client(endpoint) as kv:
            eventually(lambda: {row["transport"] for row in rows(kv)} == {"ipc", "tcp"})
            [row] = [row for row in rows(kv) if row["transport"] == "tcp"]
            host, _, port = row["address"].rpartition(":")
            assert (host, row["pid"], row["uid"]) == ("127.0.0.1", None, None)
            assert int(port) not in (0, int(endpoint.rpartition(":")[2]))


def test_a_descriptor_that_is_no_connection_any_more_tells_nothing_and_stays_open(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert peer_of(file.fileno(), 7) == Peer("", "", None, None, 7)
        disconnect(file.fileno())
        file.write("still open")
    assert peer_of(file_number_of_nothing(), 7).transport == ""


def file_number_of_nothing():
    """Return a descriptor that is closed."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number
