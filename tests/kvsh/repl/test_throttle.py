"""How much of a flood is shown: whatever comes, shown and left out are all there was, and no more than is allowed."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.commands.model import Change
from kvsh.repl.throttle import LINES_AT_ONCE_MAX, LINES_FEW, LINES_PER_S, Backlog, TokenBucket


def changes(first, last):
    return [Change("CLEAR", number, b"k", None, 0, None, 0) for number in range(first, last + 1)]


def test_of_more_than_there_is_room_for_the_last_are_shown_and_the_others_counted():
    backlog = Backlog()
    backlog.add(changes(1, 50))
    backlog.add(changes(51, 60))
    assert backlog.lines(3) == [
        "        ... 57 changes not shown",
        "    58  CLEAR k",
        "    59  CLEAR k",
        "    60  CLEAR k",
    ]
    backlog.add(changes(61, 62))
    assert backlog.lines(1) == ["        ... 1 change not shown", "    62  CLEAR k"]
    backlog.add(changes(63, 64))
    assert backlog.lines(2) == ["    63  CLEAR k", "    64  CLEAR k"]
    backlog.add(changes(1, LINES_AT_ONCE_MAX + 1))
    assert len(backlog.lines(1000)) == LINES_AT_ONCE_MAX + 1
    assert backlog.count == 0


def test_a_burst_is_shown_at_once_and_then_so_many_lines_a_second():
    allowance = TokenBucket(100.0)
    assert allowance.wait_s(LINES_AT_ONCE_MAX) == 0
    allowance.spend(LINES_AT_ONCE_MAX)
    assert allowance.wait_s(1) == 1 / LINES_PER_S
    assert allowance.wait_s(1000) == LINES_FEW / LINES_PER_S
    allowance.pass_time(100.0 + LINES_FEW / LINES_PER_S)
    assert round(allowance.wait_s(1000), 9) == 0
    allowance.pass_time(1e6)
    assert allowance.lines == LINES_AT_ONCE_MAX


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 2)), max_size=50))
def test_nothing_is_lost_and_no_more_is_written_than_allowed(arrivals):
    backlog, allowance, now, shown, hidden, lines = Backlog(), TokenBucket(0.0), 0.0, 0, 0, 0
    for count, gap in arrivals:
        backlog.add(changes(1, count))
        now += gap
        allowance.pass_time(now)
        if allowance.wait_s(backlog.count) == 0:
            written = backlog.lines(int(allowance.lines))
            allowance.spend(len(written))
            lines += len(written)
            shown += sum("CLEAR" in line for line in written)
            hidden += sum(int(line.split()[1]) for line in written if "not shown" in line)
    assert shown + hidden + backlog.count == sum(count for count, _ in arrivals)
    assert lines <= LINES_AT_ONCE_MAX + 1 + now * LINES_PER_S
