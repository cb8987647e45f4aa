"""Random programs of every command, on a real store with folds, restarts and crashes at any moment, against a model.

The limits are made small, so that folds, trims, evictions and full overlays come often.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.hypotheses import examples
from support.models import Model, Refusal, changes_reply

from kvd import native, wire
from kvd.commands import atomic, changes, expiry, keys, values
from kvd.commands.base import NotYet, commands_in
from kvd.commands.model import Span
from kvd.engine.engine import Engine
from kvd.engine.floors import Floors
from kvd.engine.staging import Staging
from kvd.errors import KvdError, Refused
from kvd.limits import ONCE_KEPT_MS
from kvd.storage import Store
from kvd.storage.files import journal as journal_module
from kvd.storage.files import table as table_module
from kvd.storage.maintenance import fill, wal_size
from kvd.storage.maintenance import fold as fold_module
from kvd.storage.maintenance import fold_thread as fold_thread_module
from kvd.storage.maintenance import maintenance as maintenance_module
from kvd.storage.maintenance import retention as retention_module
from kvd.storage.maintenance.maintenance import Maintenance
from kvd.storage.memory import overlays as overlays_module

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # long reprs of the strategies

START = 1_000_000
LONG = b"\xff" * 600
KEYS = st.sampled_from([b"a", b"ab", b"a\x00", b"a\xff", b"b", b"\xff", b"\xff\xff", LONG])
PREFIXES = st.sampled_from([b"", b"a", b"a\x00", b"ab", b"\xff", b"z"])
VALUES = st.sampled_from([b"", b"0", b"7", b"-3", b"9223372036854775807", b"x", b"y" * 300])
TTLS = st.sampled_from([1, 2, 5, 50, ONCE_KEPT_MS + 1])
MAYBE = st.sampled_from([None, None, True])
REVISIONS = st.integers(0, 30)
CONDITIONS = st.sampled_from([{}, {}, {"nx": True}, {"xx": True}, {"revision": 0}, {"revision": 3}])
LIFETIMES = st.one_of(
    st.just({}),
    st.builds(lambda ttl: {"ttl": ttl}, TTLS),
    st.builds(lambda after: {"at": START + after}, st.integers(1, 100)),
    st.just({"keep_ttl": True}),
)
EXPIRIES = LIFETIMES.filter(lambda lifetime: "keep_ttl" not in lifetime)
WANTED = st.sampled_from([None, None, 0, 1, 2, 3])
OFFSETS = st.sampled_from([0, 1, 5, 299, 300, -1, -2, -300, -301, 2**63 - 1, -(2**63)])
KEY_LISTS = st.lists(KEYS, min_size=1, max_size=3)


def a_set(key, value, lifetime, condition, previous):
    return values.Set(key, value, **lifetime, **condition, previous=previous)


def a_multiset(pairs, lifetime):
    return values.MultiSet(pairs, **lifetime)


def a_getex(key, lifetime):
    return expiry.GetEx(key, **lifetime)


READS = {
    "GET": st.builds(values.Get, KEYS),
    "MULTIGET": st.builds(values.MultiGet, KEY_LISTS),
    "EXISTS": st.builds(keys.Exists, KEY_LISTS),
    "ENTRY": st.builds(keys.EntryOf, KEYS, st.sampled_from([None, True]), st.none() | OFFSETS, st.none() | OFFSETS),
    "SCAN": st.builds(
        keys.Scan,
        PREFIXES,
        st.none() | KEYS,
        st.none() | st.integers(1, 4),
        MAYBE,
        st.none() | KEYS,
        st.none() | KEYS,
        MAYBE,
        MAYBE,
    ),
    "COUNT": st.builds(keys.Count, st.none() | PREFIXES),
    "TTL": st.builds(expiry.Ttl, KEYS),
    "GETRANGE": st.builds(values.GetRange, KEYS, OFFSETS, OFFSETS),
    "STRLEN": st.builds(values.StrLen, KEYS),
}
WRITES = {
    "SET": st.builds(a_set, KEYS, VALUES, LIFETIMES, CONDITIONS, MAYBE),
    "CLEAR": st.builds(values.Clear, KEY_LISTS, WANTED),
    "MULTISET": st.builds(a_multiset, st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=4), EXPIRIES),
    "TAKE": st.builds(values.Take, KEYS, WANTED),
    "TAKEFIRST": st.builds(values.TakeFirst, PREFIXES),
    "INCR": st.builds(values.Incr, KEYS, st.none() | st.sampled_from([0, -1, 2**63 - 1])),
    "APPEND": st.builds(values.Append, KEYS, VALUES),
    "CLEARPREFIX": st.builds(keys.ClearPrefix, PREFIXES, st.none() | st.integers(1, 3)),
    "EXPIRE": st.builds(expiry.Expire, KEYS, TTLS, WANTED),
    "PERSIST": st.builds(expiry.Persist, KEYS, WANTED),
    "GETEX": st.builds(a_getex, KEYS, EXPIRIES | st.just({"persist": True})),
}
PLAIN = st.one_of(*READS.values(), *WRITES.values())
TRANSACTION = st.builds(
    atomic.Transaction,
    st.lists(st.tuples(KEYS, st.sampled_from([0, 0, 1, 2])), max_size=1),
    st.lists(PLAIN, min_size=1, max_size=5),
)
TOKENS = st.sampled_from([b"token--1", b"token--2", b"token--3"])
COMMANDS = {
    **READS,
    **WRITES,
    "TRANSACTION": TRANSACTION,
    "ONCE": st.builds(atomic.Once, TOKENS, st.one_of(*WRITES.values(), TRANSACTION)),
    "CHANGES": st.builds(changes.Changes, REVISIONS, st.none() | PREFIXES, st.none() | st.integers(1, 5)),
    "HISTORY": st.builds(changes.History, KEYS, st.none() | REVISIONS, st.none() | st.integers(1, 3)),
    "COMPACT": st.builds(changes.Compact, REVISIONS),
}
SMALL_LIMITS = [
    (journal_module, "WAL_PRESIZED_BYTES", 1 << 20),
    (retention_module, "TRIMMED_PER_COMMIT_MAX", 3),
    (maintenance_module, "FOLD_CHANGES", 12),
    (fill, "OVERLAY_CHANGES_MAX", 20),
    (wal_size, "WAL_CHECKPOINT_BYTES", 1 << 18),
    (fold_thread_module, "TABLE_WAL_BYTES_MAX", 40_000),
    (fold_thread_module, "FOLD_CHUNK_BYTES", 20_000),
    (fold_thread_module, "TABLE_CHECKPOINT_CHANGES", 30),
    (overlays_module, "MEMORY_BYTES_MAX", 1_500),
]
KEPT_CHANGES = 20


def change_fields(change):
    return (change.kind, change.revision, change.key, change.value, change.previous, change.expires, change.time)


def send_over_wire(result):
    """Return a result as a client gets it: what comes from msgpack has lists for tuples."""
    return wire.decode_reply(wire.encode(wire.Ok(0, result))).result


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="kvd-machine-"))
        self.number = 0
        self.now = START
        self.model = Model()
        self.kept_limits = [(module, name, getattr(module, name)) for module, name, _ in SMALL_LIMITS]
        for module, name, value in SMALL_LIMITS:
            setattr(module, name, value)
        self.open()

    def teardown(self) -> None:
        self.store.close()
        for module, name, value in self.kept_limits:
            setattr(module, name, value)
        shutil.rmtree(self.root)

    @initialize()
    def some_entries(self) -> None:
        for key in (b"a", b"ab", LONG):
            self.command(values.Set(key, b"0"))

    # The store

    def directory(self) -> Path:
        return self.root / str(self.number)

    def open(self) -> None:
        self.store = Store(self.directory(), kept_changes=KEPT_CHANGES)
        self.engine = Engine(self.store)
        self.committed = self.model.copy()

    def wait_for_fold(self) -> None:
        while self.store.overlays.immutable is not None or self.store.maintenance.jobs.is_checkpointing:
            self.store.maintenance.jobs.finish(self.store.maintenance.parts.fold_thread.done.get())

    @rule()
    def commit(self) -> None:
        staging = self.engine.staging
        if not staging.is_empty:
            self.store.commit(staging.take())
        staging.drop()
        self.follow_retention()
        self.committed = self.model.copy()

    def follow_retention(self) -> None:
        """The store may forget changes by itself: only those beyond what is kept, and only what is folded."""
        if self.store.compacted > self.model.compacted:
            assert self.store.compacted <= min(self.store.maintenance.jobs.durable, self.store.revision - KEPT_CHANGES)
            self.model.compacted = self.store.compacted

    @rule(waits=st.booleans())
    def fold(self, waits) -> None:
        self.store.maintenance.jobs.begin_fold()
        if waits:
            self.wait_for_fold()

    @rule(passed=st.sampled_from([0, 10_000]))
    @precondition(lambda self: self.engine.staging.is_empty)
    def tick(self, passed) -> None:
        self.now += passed
        self.store.tick(self.now)
        self.engine.staging.drop()
        self.follow_retention()
        self.committed = self.model.copy()

    @rule()
    def restart(self) -> None:
        """Stop and start: what is not committed is gone."""
        self.store.close()
        self.model = self.committed.copy()
        self.open()

    @rule()
    def crash(self) -> None:
        """Continue from a copy of the files as they are while the store is open."""
        self.wait_for_fold()
        before = self.directory()
        self.number += 1
        shutil.copytree(before, self.directory(), ignore=shutil.ignore_patterns("*-shm", "lock"))
        self.restart()

    # The clock

    @rule(passed=st.sampled_from([1, 1, 5, 100]))
    def time_passes(self, passed) -> None:
        self.now += passed

    @rule()
    def tokens_grow_old(self) -> None:
        self.now += ONCE_KEPT_MS

    @rule(data=st.data())
    def an_expiry_comes(self, data) -> None:
        times = sorted({c.expires for c in self.model.cells.values() if c.expires is not None and c.expires > self.now})
        if times:
            self.now = data.draw(st.sampled_from(times))

    @rule(limit=st.integers(1, 10))
    def sweep(self, limit) -> None:
        self.committed.now = self.now
        due = self.store.due(self.now, 1_000)
        assert sorted(due) == self.committed.due()
        some = self.store.due(self.now, limit)
        assert some == due[:limit]
        assert self.engine.expire(some, self.now) == self.model.sweep(some, self.now)

    # Commands

    @rule(command=st.one_of(*COMMANDS.values()))
    def any_command(self, command) -> None:
        self.command(command)

    @rule(command=WRITES["SET"])
    def a_set(self, command) -> None:
        self.command(command)

    @rule(command=WRITES["TAKEFIRST"])
    def a_take_first(self, command) -> None:
        self.command(command)

    @rule(command=st.one_of(COMMANDS["ONCE"], TRANSACTION))
    def an_atomic_command(self, command) -> None:
        self.command(command)

    def command(self, command) -> None:
        command = wire.decode_command(wire.encode(command))
        assert self.outcome(command) == self.model_outcome(command)

    def outcome(self, command):
        try:
            reply = self.engine.apply(command, self.now)
        except Refused as error:
            return error.code
        assert not isinstance(reply, NotYet)
        if isinstance(command, changes.Changes):
            return reply.revision, [change_fields(change) for change in reply.result]
        return reply.revision, send_over_wire(reply.result)

    def model_outcome(self, command):
        if isinstance(command, changes.Changes):
            try:
                return changes_reply(self.model, command)
            except Refusal as refusal:
                return str(refusal)
        outcome = self.model.apply(command, self.now)
        return outcome if isinstance(outcome, str) else (outcome[0], send_over_wire(outcome[1]))

    # Invariants

    @invariant()
    def the_store_holds_what_is_committed(self) -> None:
        assert (self.store.revision, self.store.compacted) == (self.committed.revision, self.committed.compacted)
        found = {e.key: (e.value, e.revision, e.created, e.expires) for e in self.store.scan()}
        assert found == self.committed.cells
        assert list(found) == sorted(found)
        assert [e.key for e in self.store.scan(Span(is_reverse=True))] == sorted(found, reverse=True)
        assert all(self.store.get(key).value == cell.value for key, cell in self.committed.cells.items())

    @invariant()
    def the_journal_has_every_change_that_is_not_compacted(self) -> None:
        since = self.committed.compacted
        upto, found = self.store.changes(since, b"", 10_000)
        assert (upto, [change_fields(change) for change in found]) == (
            self.committed.revision,
            self.committed.changes[since:],
        )

    @invariant()
    def a_count_is_a_count(self) -> None:
        for prefix in (b"", b"a", b"\xff"):
            self.command(keys.Count(prefix))


def test_the_machine_runs_commands_that_change_or_read_entries():
    families = commands_in((values, keys, expiry, atomic, changes))
    assert set(COMMANDS) <= {command.command_name() for command in families}


def forget_expired(memory, now):
    return memory.active.due(now)


def drop_what_is_not_folded(memory, key):
    return False


def trim_what_is_not_folded(maintenance, **_):
    head = maintenance.parts.overlays.revision
    return head - 1 if head > maintenance.parts.retention.first else None


def put_without_end(staging, key, value, *, expires):
    staging.last.pop(key, None)
    return real_put(staging, key, value, expires=expires)


real_put = Staging.put
write_mark = table_module.write_mark
FAULTS = [
    (overlays_module.Overlays, "due", forget_expired),
    (overlays_module.Overlays, "covers", drop_what_is_not_folded),
    (Staging, "put", put_without_end),
    (Floors, "_sink", lambda floors, rows: None),
    (Floors, "forget", lambda floors: None),
    (fold_module, "DELETE", "SELECT :after, :number"),
    (table_module, "write_mark", lambda db, mark: write_mark(db, mark._replace(entries=0))),
    (Maintenance, "trim_target", trim_what_is_not_folded),
]


SLOW_FAULTS = ("due", "covers", "DELETE", "forget")  # it takes minutes until the machine meets one of these


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [pytest.param(*each, id=each[1], marks=pytest.mark.long if each[1] in SLOW_FAULTS else ()) for each in FAULTS],
)
def test_a_fault_is_found_by_the_machine(monkeypatch, owner, name, fault):
    monkeypatch.setattr(owner, name, fault)
    quick = settings(
        max_examples=500, stateful_step_count=50, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    with pytest.raises(
        (AssertionError, AttributeError, KvdError, Flaky)
    ):  # Flaky: the fold runs beside, so a fault may not show twice
        run_state_machine_as_test(Machine, settings=quick)


class TestMachine(Machine.TestCase):
    settings = settings(
        max_examples=examples(100), stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )


class PlainMachine(Machine):
    """The same without what is in C."""

    def open(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "module", None)
            super().open()
        assert type(self.engine.staging) is Staging


class TestPlainMachine(PlainMachine.TestCase):
    settings = settings(
        max_examples=examples(50), stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.long
class TestPlainMachineLong(PlainMachine.TestCase):
    settings = settings(
        max_examples=1_000, stateful_step_count=100, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.long
class TestMachineLong(Machine.TestCase):
    settings = settings(
        max_examples=1_000, stateful_step_count=100, deadline=None, suppress_health_check=list(HealthCheck)
    )
