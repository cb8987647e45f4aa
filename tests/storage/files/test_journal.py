"""The journal: rows in order, checked; bounded spans; heads; tokens."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils.utils import sqlite3
from support.drives import NOW, RolledBack
from support.forms import built

from kvd import native
from kvd.commands.atomic import Once
from kvd.commands.model import OnceRecord
from kvd.commands.values import Clear, Incr, MultiSet, Set
from kvd.errors import Corrupt, StorageFailed
from kvd.storage.files import journal as journal_module
from kvd.storage.files.journal import MIGRATIONS, CompiledRows, Journal, JournalState, PlainRows, rows_of
from kvd.storage.files.sqlite import connect_migrated, connect_native, library_path


def rows_after(journal, revision):
    return [row for rows in journal.chunks_after(revision) for row in rows]


@pytest.fixture
def journal(drive):
    drive.apply(Set(b"a", b"1"), Set(b"b", b"22"), Set(b"ab", b"333"), Clear([b"a"]), Set(b"\xff", b"4"))
    return drive.store.journal


@pytest.mark.parametrize(
    ("since", "prefix", "limit", "upto", "revisions"),
    [
        (0, b"", 9, 5, [1, 2, 3, 4, 5]),
        (2, b"", 9, 5, [3, 4, 5]),
        (5, b"", 9, 5, []),
        (0, b"a", 9, 5, [1, 3, 4]),
        (0, b"\xff", 9, 5, [5]),
        (0, b"z", 9, 5, []),
        (0, b"", 2, 2, [1, 2]),
        (0, b"a", 2, 3, [1, 3]),
        (0, b"b", 1, 5, [2]),
    ],
)
def test_a_span_is_complete_up_to_the_revision_told(journal, since, prefix, limit, upto, revisions):
    told, changes = journal.changes(since, 5, prefix, limit)
    assert (told, [change.revision for change in changes]) == (upto, revisions)


def test_a_span_is_cut_by_rows_looked_at_and_by_bytes(journal, monkeypatch):
    monkeypatch.setattr(journal_module, "CHANGES_ROWS_MAX", 2)
    assert journal.changes(1, 5, b"z", 9) == (3, [])
    monkeypatch.setattr(journal_module, "CHANGES_ROWS_MAX", 100)
    monkeypatch.setattr(journal_module, "REPLY_BYTES_MAX", 5)
    assert [change.revision for change in journal.changes(0, 5, b"", 9)[1]] == [1, 2]
    assert [change.revision for change in journal.changes(2, 5, b"", 9)[1]] == [3]


def test_rows_are_given_as_they_were_taken(drive):
    rows = [
        (1, 1, b"a", b"1", 0, 1, None, NOW),
        (2, 1, b"b", b"", 0, 2, NOW + 9, NOW),
        (3, 2, b"a", None, 1, 0, None, NOW),
    ]
    drive.store.journal.append(rows, [], None, None)
    assert rows_after(drive.store.journal, 0) == rows
    assert rows_after(drive.store.journal, 2) == rows[2:]


NUMBERS = st.integers(0, 2**62)
TIMES = st.none() | st.integers(1, 2**62)
BYTES = st.binary(max_size=40)
VALUES = BYTES | st.just(b"x" * 5_000)
ROWS = st.one_of(
    st.tuples(st.just(1), BYTES, VALUES, NUMBERS, NUMBERS, TIMES, NUMBERS),
    st.tuples(st.sampled_from([2, 3]), BYTES, st.none() | VALUES, NUMBERS, NUMBERS, TIMES, NUMBERS),
)


@built
@given(rows=st.lists(ROWS, max_size=20))
def test_both_forms_write_the_same_rows_to_the_bit(tmp_path_factory, rows):
    rows, written = [(revision, *row) for revision, row in enumerate(rows, 2**40)], []
    for module in (native.module, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "module", module)
            journal = Journal(tmp_path_factory.mktemp("journal"), synchronous="OFF", wal_bytes=0)
        assert type(journal.rows) is (CompiledRows if module else PlainRows)
        journal.append(rows, [], None, None)
        written.append(journal.db.execute("SELECT * FROM journal ORDER BY revision").fetchall())
        journal.close()
    assert written[0] == written[1]
    assert len(written[0]) == len(rows)


@built
@given(rows=st.lists(ROWS, max_size=20), bounds=st.tuples(*[st.integers(-1, 25)] * 3), bytes_max=st.integers(0, 6_000))
def test_both_forms_read_the_same_rows(tmp_path_factory, rows, bounds, bytes_max):
    since, upto, count_max = bounds
    journal = Journal(tmp_path_factory.mktemp("journal"), synchronous="OFF", wal_bytes=0)
    rows = [(revision, *row) for revision, row in enumerate(rows, 1)]
    journal.append(rows, [], None, None)
    found = journal.rows.between(since, upto, max(count_max, 0), bytes_max)
    assert found == PlainRows(journal.db).between(since, upto, max(count_max, 0), bytes_max)
    assert found == [row for row in rows if since < row[0] <= upto][: len(found)]
    assert rows_after(journal, since) == rows[max(since, 0) :]
    journal.close()


@built
@pytest.mark.parametrize("column", ["kind", "key", "value", "previous", "created", "expires", "time", "head", "seal"])
@pytest.mark.parametrize("value", ["7", "x'41'", "'text'", "1.5"])
def test_a_damaged_row_is_told_by_both_forms(drive, column, value):
    drive.apply(Set(b"a", b"1", at=NOW + 9), Set(b"b", b"2", at=NOW + 9), Set(b"c", b"3"))
    journal = drive.store.journal
    journal.db.execute(f"UPDATE journal SET {column} = {value} WHERE revision = 2")
    for form in (journal.rows, PlainRows(journal.db)):
        assert len(form.between(0, 1, 9, 99)) == 1
        with pytest.raises(Corrupt, match="revision 2"):
            form.between(0, 9, 9, 99)


@built
@pytest.mark.parametrize("cell", ["value = ''", "value = 0", "value = NULL", "expires = 0"])
def test_a_cell_whose_type_alone_is_damaged_is_told_by_both_forms(drive, cell):
    """One bit of what comes before a row makes an empty value text or 0, or lets end at 0 what does not expire."""
    drive.apply(Set(b"a", b""), Set(b"b", b""))
    journal = drive.store.journal
    journal.db.execute(f"UPDATE journal SET {cell} WHERE revision = 2")
    for form in (journal.rows, PlainRows(journal.db)):
        with pytest.raises(Corrupt, match="revision 2"):
            form.between(0, 9, 9, 99)


@built
def test_what_is_no_row_is_refused_and_nothing_is_written(drive):
    good = (1, 1, b"a", b"1", 0, 1, None, NOW)
    for wrong in ((), (1,) * 8, (2, 1, b"b", "text", 0, 1, None, NOW), (2**63, 1, b"b", b"", 0, 1, None, NOW)):
        with pytest.raises((TypeError, OverflowError)):
            drive.store.journal.append([good, wrong], [], None, None)
        assert rows_after(drive.store.journal, 0) == []


@built
def test_what_sqlite_finds_too_large_is_refused_and_not_written_as_nothing(tmp_path):
    db, address = connect_native(lambda: connect_migrated(tmp_path / "journal.db", MIGRATIONS))
    limit = ctypes.CDLL(library_path()).sqlite3_limit
    limit(ctypes.c_void_p(address), 0, 10_000)  # of bytes in a row; usually 10**9
    for rows in (rows_of(db, address), PlainRows(db)):
        with pytest.raises(sqlite3.Error, match=r"too big|parameter 3"):
            rows.append([(1, 1, b"a", bytes(20_000), 0, 1, None, NOW)])
        rows.append([])
        assert rows.between(0, 9, 9, 9) == []
        rows.close()
    db.close()


@built
def test_a_journal_that_is_closed_takes_no_more(drive):
    journal = drive.store.journal
    journal.rows.close()
    with pytest.raises(RuntimeError, match="closed"):
        journal.append([(1, 1, b"a", b"1", 0, 1, None, NOW)], [], None, None)


def test_the_head_tells_first_last_time_and_what_is_compacted(drive):
    journal = drive.store.journal
    assert journal.read_state() == JournalState(drive.store.history, 0, 1, 0, 0)
    drive.apply(MultiSet([(b"a", b"1")] * 4), now=NOW + 7)
    journal.append([], [], 3, 2)
    assert journal.read_state() == JournalState(drive.store.history, 3, 3, 4, NOW + 7)


def test_what_fails_half_way_is_not_there_at_all(drive):
    row = (1, 1, b"a", b"1", 0, 1, None, NOW)
    with pytest.raises(sqlite3.IntegrityError):
        drive.store.journal.append([row, row], [], None, None)
    assert rows_after(drive.store.journal, 0) == []
    drive.store.journal.append([row], [], None, None)
    assert rows_after(drive.store.journal, 0) == [row]


def test_a_begin_that_fails_leaves_no_transaction_open(drive):
    other = sqlite3.connect(str(drive.directory / "journal.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    drive.store.journal.db.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        drive.store.journal.append([], [], 1, None)
    other.execute("ROLLBACK")
    other.close()
    drive.store.journal.append([], [], 1, None)
    assert drive.store.journal.read_state().compacted == 1


def test_a_commit_that_sqlite_rolled_back_by_itself_can_be_tried_again(drive):
    journal = drive.store.journal
    journal.db = RolledBack(journal.db)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.append([], [], 1, None)
    assert journal.read_state().compacted == 0
    journal.append([], [], 1, None)
    assert journal.read_state().compacted == 1


def test_counts_of_a_span_are_what_began_less_what_ended(journal):
    counted = [journal.net_count(since, since, b"", prefix) for since, prefix in ((0, b""), (0, b"a"), (3, b"a"))]
    assert (counted, journal.net_count(0, 0, b"", b"\xff")) == ([3, 1, -1], 1)
    # After a fold from 0 to 3 of the keys up to one.
    assert [journal.net_count(0, 3, b"a", prefix) for prefix in (b"", b"a", b"\xff")] == [2, 0, 1]


DAMAGE = ["value = x'00'", "kind = 2", "key = x'62'", "created = 9", "expires = 9", "checksum = 9", "head = 9"]


@pytest.mark.parametrize("change", DAMAGE)
def test_a_damaged_row_is_an_error_when_it_is_read(drive, change):
    drive.apply(Set(b"a", b"1"), Set(b"b", b"2"))
    drive.fold().sql("journal.db", f"UPDATE journal SET {change} WHERE revision = 1")
    store = drive.open().store
    with pytest.raises(Corrupt, match="the change of revision 1 is damaged on disk") as caught:
        store.changes(0, b"", 9)
    assert caught.value.details == {"revision": 1}
    assert store.changes(1, b"", 9)[0] == 2


@pytest.mark.parametrize("hidden", ["revision = 2", "revision = 3", "revision > 1"])
def test_changes_that_are_hidden_are_told_not_skipped(drive, hidden):
    drive.apply(MultiSet([(b"a", b"1")] * 3))
    journal = drive.store.journal
    journal.db.execute(f"UPDATE journal SET revision = -revision WHERE {hidden}")
    with pytest.raises(Corrupt, match="missing on disk"):
        [journal.changes(since, 3, b"", 9) for since in range(3)]


@pytest.mark.parametrize("change", DAMAGE)
def test_a_damaged_row_that_is_not_folded_stops_the_start(drive, change):
    drive.apply(Set(b"a", b"1"))
    drive.sql("journal.db", f"UPDATE journal SET {change} WHERE revision = 1")
    with pytest.raises(StorageFailed, match="the change of revision 1 is damaged on disk"):
        drive.open()


def test_tokens_are_kept_by_number_and_the_last_of_each_is_told(drive):
    drive.apply(Once(b"token--1", Incr(b"a")), Once(b"token--2", Incr(b"a")), now=NOW)
    drive.apply(Once(b"token--3", Incr(b"a")), now=NOW + 5)
    journal = drive.store.journal
    assert journal.tokens_after(NOW) == {b"token--3": (3, NOW + 5)}
    assert list(journal.tokens_after(NOW - 1)) == [b"token--1", b"token--2", b"token--3"]
    assert journal.next_token() == 4
    kept = journal.find_once(2)
    assert kept == OnceRecord(b"token--2", kept.digest, 2, b"\x02", NOW)


def test_tokens_are_forgotten_a_thousand_at_least_at_a_time(drive):
    kept = [(number, OnceRecord(b"%08d" % number, b"", 0, b"", NOW)) for number in range(1, 1_006)]
    journal = drive.store.journal
    journal.append([], kept, None, None)
    journal.delete_tokens(1_000)
    assert len(journal.tokens_after(0)) == 1_005
    journal.delete_tokens(1_001)
    assert sorted(journal.tokens_after(0)) == [b"%08d" % number for number in range(1_001, 1_006)]


def test_the_wal_is_made_long_before_it_is_used_and_left_alone_when_it_holds_something(drive):
    assert drive.store.journal.wal.stat().st_size == 1 << 20
    drive.apply(Set(b"a", b"1"))
    before = drive.store.journal.wal.read_bytes()
    drive.store.journal.presize_wal()
    assert drive.store.journal.wal.read_bytes() == before
