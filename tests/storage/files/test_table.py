"""The table as the loop reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.drives import NOW
from support.forms import built, make_compiled_cache

from kvd.commands.model import ALL, SET, Entry, Span, make_span
from kvd.commands.values import MultiSet, Set
from kvd.errors import Corrupt
from kvd.storage.due import BEGIN
from kvd.storage.files import table as table_module
from kvd.storage.files.checksum import checksum, head_checksum
from kvd.storage.files.table import SMALL_BYTES, Table
from kvd.storage.memory.key_cache import PlainKeyCache

EMPTY = Entry(b"", 0, 0, None, b"")
VALUES = st.sampled_from([b"", b"v", b"x" * 1_023, b"x" * 1_024, b"x" * SMALL_BYTES, b"x" * (SMALL_BYTES + 1)])
KEYS = [b"\x00", b"a", b"a\x00", b"a\xff", b"ab", b"b", b"\xff", b"\xff\xff"]


@pytest.fixture
def table(drive):
    drive.apply(MultiSet([(key, key) for key in KEYS]))
    return drive.fold().store.table


@pytest.mark.parametrize("prefix", [b"", b"a", b"a\xff", b"\xff", b"c"])
@pytest.mark.parametrize("after", [None, b"\x00", b"a", b"a\x00", b"aa", b"b", b"\xff\xff"])
def test_a_walk_is_the_sorted_keys_of_a_prefix_after_a_key(table, prefix, after):
    expected = sorted(key for key in KEYS if key.startswith(prefix) and (after is None or key > after))
    assert [entry.key for entry in table.scan(make_span(prefix, after))] == expected
    before = sorted((key for key in KEYS if key.startswith(prefix) and (after is None or key < after)), reverse=True)
    assert [entry.key for entry in table.scan(make_span(prefix, after, is_reverse=True))] == before
    assert table.count(prefix) == (sum(key.startswith(prefix) for key in KEYS), table.mark())


@pytest.mark.parametrize(
    "span", [Span(b"a", b"b"), Span(b"a"), Span(b"a", b"b", is_reverse=True), Span(b"a", is_reverse=True)]
)
def test_a_walk_that_needs_no_values_reads_none(table, span):
    """IdxGE and its like compare a key with a bound, and read all of the row for it."""
    statements = []
    table.db.set_trace_callback(statements.append)
    list(table.metas(span))
    list(table.sizes(span))
    assert len(statements) == 2
    for statement in statements:
        operations = {row[1] for row in table.db.execute(f"EXPLAIN {statement}")}
        assert operations.isdisjoint({"IdxGE", "IdxGT", "IdxLE", "IdxLT"})


@pytest.mark.parametrize("is_reverse", [False, True])
def test_a_key_of_another_type_is_told_or_passed_by(table, is_reverse):
    table.db.execute("UPDATE entry SET key = 'text' WHERE key = ?", (b"a",))
    if is_reverse:
        with pytest.raises(Corrupt):
            list(table.metas(Span(is_reverse=is_reverse)))
    else:
        assert len(list(table.metas(Span(is_reverse=is_reverse)))) == len(KEYS) - 1


def test_an_entry_comes_back_as_it_was_written(drive):
    drive.apply(Set(b"a", b"1", ttl=5), Set(b"b", b""))
    table = drive.fold().store.table
    assert [table.get(key) for key in (b"a", b"b", b"c")] == [
        Entry(b"a", 1, 1, NOW + 5, b"1"),
        Entry(b"b", 2, 2, None, b""),
        None,
    ]


def test_keys_that_are_asked_for_twice_are_read_all_the_same(drive):
    drive.apply(Set(b"large", bytes(5_000)), Set(b"small", b"1"))
    table = drive.fold().store.table
    keys = [b"large", b"small", b"missing"] * table_module.MANY
    assert table.get_many(keys) == {b"small": Entry(b"small", 2, 2, None, b"1"), b"missing": None}


@pytest.mark.parametrize("cell", ["value = ''", "value = 0", "expires = 0"])
def test_a_cell_whose_type_alone_is_damaged_is_told(drive, cell):
    """One bit of what comes before a row makes an empty value text or 0, or lets end at 0 what does not expire."""
    drive.apply(Set(b"a", b""))
    table = drive.fold().store.table
    table.db.execute(f"UPDATE entry SET {cell}")
    for read in (lambda: table.get(b"a"), lambda: table.get_many([b"a"]), lambda: list(table.scan(ALL))):
        with pytest.raises(Corrupt):
            read()
    if cell == "expires = 0":
        with pytest.raises(Corrupt):
            list(table.metas(ALL))


def test_keys_are_due_first_in_time_first(drive):
    drive.apply(Set(b"a", b"", at=9), Set(b"b", b"", at=5), Set(b"c", b"", at=5), Set(b"d", b""), Set(b"e", b"", at=10))
    table = drive.fold().store.table
    due = [[key for _, key in table.due(now, BEGIN)] for now in (4, 5, 9)]
    assert due == [[], [b"b", b"c"], [b"b", b"c", b"a"]]
    assert list(table.due(10, (5, b"b"))) == [(5, b"c"), (9, b"a"), (10, b"e")]


def test_what_is_due_is_found_by_its_index_without_a_look_at_the_others(table):
    plan = table.db.execute(f"EXPLAIN QUERY PLAN {table_module.DUE}", (NOW, *BEGIN)).fetchall()
    assert "SEARCH entry USING COVERING INDEX entry_expires ((expires,key)>(?,?) AND expires<?)" in [
        row[3] for row in plan
    ]


@pytest.mark.parametrize(
    "change", ["value = x'00'", "revision = 9", "created = 9", "expires = 9", "checksum = 9", "head = 9"]
)
def test_a_damaged_entry_is_an_error_and_never_a_wrong_value(drive, change):
    drive.apply(Set(b"a", b"1"), Set(b"b", b"2"))
    drive.fold().sql("table.db", f"UPDATE entry SET {change} WHERE key = x'61'")
    store = drive.open().store
    for read in (lambda: store.get(b"a"), lambda: list(store.scan())):
        with pytest.raises(Corrupt, match="the entry of this key is damaged on disk") as caught:
            read()
        assert caught.value.details == {"key": b"a"}
    assert store.get(b"b").value == b"2"


@built
@given(rows=st.lists(st.tuples(st.sampled_from(KEYS), VALUES, st.none() | st.integers(1, 2**60)), max_size=30))
def test_both_forms_take_the_same_into_memory(tmp_path_factory, rows):
    table = Table(tmp_path_factory.mktemp("table"))
    for revision, (key, value, expires) in enumerate(rows, 1):
        head = head_checksum(revision, SET, key, revision, expires)
        row = (key, revision, revision, expires, head, checksum(head, value), value)
        table.db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    compiled, plain = make_compiled_cache(), PlainKeyCache()
    for known in (compiled, plain):
        table.read_into(known, [*KEYS, *KEYS])
    assert compiled.get_many(KEYS) == plain.get_many(KEYS)
    assert compiled.find_uncached(KEYS) == plain.find_uncached(KEYS)
    assert compiled.find_uncached(KEYS) == [key for key in KEYS if len((table.get(key) or EMPTY).value) > SMALL_BYTES]
    table.close()


@built
@pytest.mark.parametrize("column", ["revision", "created", "expires", "head", "checksum", "value"])
@pytest.mark.parametrize("value", ["7", "x'41'", "'text'", "1.5"])
def test_a_damaged_row_is_not_taken_into_memory(drive, column, value):
    drive.apply(Set(b"a", b"1", at=9 * NOW), Set(b"b", b"2", at=9 * NOW))
    drive.fold()
    drive.store.table.db.execute(f"UPDATE entry SET {column} = {value} WHERE key = x'61'")
    for known in (make_compiled_cache(), PlainKeyCache()):
        with pytest.raises(Corrupt):
            drive.store.table.read_into(known, [b"a"])
        assert known.find_uncached([b"a"]) == [b"a"]
        drive.store.table.read_into(known, [b"b", b"c"])
        assert known.get(b"b").value == b"2"


@built
def test_a_table_that_is_closed_reads_no_more(drive):
    drive.store.table.compiled.close()
    with pytest.raises(RuntimeError, match="closed"):
        drive.store.table.read_into(make_compiled_cache(), [b"a"])
