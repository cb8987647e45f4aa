"""INFO tells how many clients and watchers are connected."""

from running import eventually

from kvd.client import Client


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
