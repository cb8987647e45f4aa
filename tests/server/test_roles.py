"""Every command under every role and prefix: who may not, changes nothing and learns nothing (S7).

The table repeats by hand the role that each command needs and the keys that it names. A command without a row is tested
as a plain read or write, by its example; it needs a row if it needs another role or names no key.
"""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drives import EngineOnStore
from support.example_calls import call_with_key
from support.hypotheses import examples

from kvd import wire
from kvd.access import Access, Client
from kvd.commands import COMMANDS, Read
from kvd.commands.values import MultiSet
from kvd.errors import Busy
from kvd.server.background import AdminTasks, BackgroundCommands
from kvd.server.clock import Clock
from kvd.server.executor import Executor
from kvd.server.info import Introspection

TOKEN = b"token--1"

# The right each command needs, and how it reaches a key (or a prefix).
TABLE = {
    "GET": ("read", lambda key: ["GET", key]),
    "SET": ("write", lambda key: ["SET", key, b"v"]),
    "CLEAR": ("write", lambda key: ["CLEAR", [b"user:1", key]]),
    "MULTIGET": ("read", lambda key: ["MULTIGET", [b"user:1", key]]),
    "MULTISET": ("write", lambda key: ["MULTISET", [[b"user:1", b"v"], [key, b"user:1"]]]),
    "TAKE": ("write", lambda key: ["TAKE", key]),
    "TAKEFIRST": ("write", lambda key: ["TAKEFIRST", key]),
    "INCR": ("write", lambda key: ["INCR", key]),
    "APPEND": ("write", lambda key: ["APPEND", key, b"v"]),
    "GETRANGE": ("read", lambda key: ["GETRANGE", key, 0, -1]),
    "STRLEN": ("read", lambda key: ["STRLEN", key]),
    "EXISTS": ("read", lambda key: ["EXISTS", [b"user:1", key]]),
    "ENTRY": ("read", lambda key: ["ENTRY", key]),
    "SCAN": ("read", lambda key: ["SCAN", key]),
    "COUNT": ("read", lambda key: ["COUNT", key]),
    "CLEARPREFIX": ("write", lambda key: ["CLEARPREFIX", key]),
    "EXPIRE": ("write", lambda key: ["EXPIRE", key, 1000]),
    "PERSIST": ("write", lambda key: ["PERSIST", key]),
    "GETEX": ("write", lambda key: ["GETEX", key, 1000]),
    "TTL": ("read", lambda key: ["TTL", key]),
    "TRANSACTION": ("write", lambda key: ["TRANSACTION", [[b"user:1", 1]], [["GET", b"user:1"], ["GET", key]]]),
    "ONCE": ("write", lambda key: ["ONCE", TOKEN, ["SET", key, b"v"]]),
    "CHANGES": ("read", lambda key: ["CHANGES", 0, key]),
    "HISTORY": ("read", lambda key: ["HISTORY", key]),
    "COMPACT": ("admin", lambda key: ["COMPACT", 1]),
    "PING": ("read", lambda key: ["PING"]),
    "INFO": ("read", lambda key: ["INFO"]),
    "COMMANDS": ("read", lambda key: ["COMMANDS"]),
    "CONFIG": ("admin", lambda key: ["CONFIG"]),
    "CHECK": ("admin", lambda key: ["CHECK"]),
    "BACKUP": ("admin", lambda key: ["BACKUP", "monday.kvd"]),
    "SLOWLOG": ("admin", lambda key: ["SLOWLOG"]),
    "CLIENTS": ("admin", lambda key: ["CLIENTS"]),
}
for name, command in COMMANDS.items():
    TABLE.setdefault(name, ("read" if issubclass(command, Read) else "write", partial(call_with_key, name)))
FREE = {"PING", "INFO", "COMMANDS"}  # name no key
ADMIN = {name for name, (power, _) in TABLE.items() if power == "admin"}
ROLES = ("read", "write", "admin")
OWN, OTHERS = (b"user:1", b"user:"), (b"other:1", b"user", b"")
KEYS = [b"user:1", b"user:2", b"other:1", b"user"]


class NoTasks(BackgroundCommands):
    """Reports that a task got through, and does nothing."""

    def start(self, *_):
        raise Busy("through")


class Rights:
    """An authenticator without a socket."""

    def __init__(self, access):
        self.check = access.check

    def name_of(self, key):
        return key


@pytest.fixture(scope="module")
def executor(tmp_path_factory):
    drive = EngineOnStore(tmp_path_factory.mktemp("d") / "data")
    drive.apply(MultiSet([(key, b"secret of " + key) for key in KEYS]))
    clients = {
        f"{role} {bound}": Client(role, role, (b"user:",) if bound else ()) for role in ROLES for bound in (0, 1)
    }
    tasks = NoTasks()
    daemon = Introspection({}, AdminTasks(drive.directory, drive.directory, tasks))
    yield Executor(drive.store, daemon, tasks, authenticator=Rights(Access(clients, "access.toml")))
    drive.store.close()


def reply_to(executor, command, user):
    """Return the reply to a command, and whether it staged anything; nothing of it is kept."""
    now = Clock(0).now()
    staging = executor.engine.staging
    before = staging.revision
    [body] = executor.run_batch([([b"peer", b""], wire.encode(command), user)], now)
    changed = staging.revision != before or not staging.is_empty
    staging.drop()
    executor.waiters.end_batch(is_committed=False)
    return wire.decode_reply(body), changed


def is_denied(executor, command, user):
    reply, changed = reply_to(executor, command, user)
    denied = getattr(reply, "code", None) == "DENIED"
    assert not (denied and changed)
    return denied


def forms(name):
    """Return the ways to send a command: by itself, in a transaction, and once."""
    power, make = TABLE[name]
    yield power, make
    if COMMANDS[name].__module__.endswith((".values", ".keys", ".expiry")):
        yield "write", lambda key: ["TRANSACTION", [], [["GET", b"user:1"], make(key)]]
        yield "write", lambda key: ["ONCE", TOKEN, ["TRANSACTION", [], [make(key)]]]
        if power == "write":
            yield "write", lambda key: ["ONCE", TOKEN, make(key)]


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_it_may_and_no_more(executor, role, name):
    for power, make in forms(name):
        allowed = ROLES.index(role) >= ROLES.index(power)
        for key in KEYS:
            assert is_denied(executor, make(key), f"{role} 0") is not allowed


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("role", ["read", "write"])
def test_who_has_prefixes_reaches_no_other_key(executor, role, name):
    for power, make in forms(name):
        is_enough = ROLES.index(role) >= ROLES.index(power)
        for key in OWN:
            assert is_denied(executor, make(key), f"{role} 1") is not is_enough
        for key in OTHERS:
            if key or COMMANDS[name].__struct_fields__[:1] == ("prefix",):
                is_free = name in FREE and is_enough
                assert is_denied(executor, make(key), f"{role} 1") is not is_free


@pytest.mark.parametrize("name", TABLE)
def test_who_is_not_in_the_file_may_nothing(executor, name):
    for _, make in forms(name):
        assert is_denied(executor, make(b"user:1"), "somebody")
        assert is_denied(executor, make(b"user:1"), "")


@pytest.mark.parametrize("command", [["SCAN"], ["COUNT"], ["CHANGES", 0], ["CHANGES", 0, None, 1, 1000]])
def test_a_prefix_left_out_is_all_keys(executor, command):
    assert is_denied(executor, command, "read 1")
    executor.waiters.end_batch(is_committed=False)


@pytest.mark.parametrize(
    "command",
    [
        ["TRANSACTION", [[b"other:1", 7]], [["GET", b"user:1"]]],
        ["SCAN", b"user:", b"other:1"],
        ["SCAN", b"user:", None, None, None, b"other:1"],
        ["SCAN", b"user:", None, None, None, None, b"user;"],
        ["ONCE", TOKEN, ["TAKEFIRST", b"other:", 1000]],
        ["ONCE", TOKEN, ["TRANSACTION", [[b"other:1", 7]], [["GET", b"user:1"]]]],
    ],
)
def test_a_key_in_a_condition_or_an_option_counts(executor, command):
    assert is_denied(executor, command, "write 1")


@pytest.mark.parametrize("name", sorted(set(TABLE) - FREE - ADMIN))
def test_a_refusal_is_the_same_whether_the_key_exists_or_not(executor, name):
    for _, make in forms(name):
        there, gone = (reply_to(executor, make(key), "write 1")[0] for key in (b"other:1", b"other:2"))
        assert there.message.replace("other:1", "other:2") == gone.message
        assert there.details == gone.details == {"outcome": "not executed"}
        assert "secret" not in there.message


def test_nothing_is_read_for_who_is_denied(executor, monkeypatch):
    asked = []
    monkeypatch.setattr("kvd.server.executor.AHEAD_MIN", 1)
    monkeypatch.setattr(executor.store, "read_ahead", lambda keys: asked.extend(keys) or 0)
    reply_to(executor, ["GET", b"user:1"], "read 1")
    assert asked == [b"user:1"]
    asked.clear()
    reply_to(executor, ["GET", b"other:1"], "read 1")
    assert asked == []


def test_those_who_are_denied_are_counted(executor):
    before = executor.counts.denied
    reply_to(executor, ["GET", b"other:1"], "read 1")
    assert executor.counts.denied == before + 1


def test_when_the_rule_itself_breaks_nobody_gets_through(executor, monkeypatch):
    monkeypatch.setattr(executor.authenticator, "check", lambda user, command: 1 / 0)
    reply, changed = reply_to(executor, ["SET", b"user:1", b"x"], "admin 0")
    assert (reply.code, changed) == ("INTERNAL", False)


@settings(max_examples=examples(200))
@given(st.lists(st.binary(max_size=3), min_size=1, max_size=3), st.binary(min_size=1, max_size=4))
def test_a_key_is_ones_own_if_it_begins_with_a_prefix(prefixes, key):
    client = Client("ada", "read", tuple(prefixes))
    assert client.allows(key) is any(key[: len(prefix)] == prefix for prefix in prefixes)
