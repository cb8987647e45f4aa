"""Which commands of a script are sent again after BUSY."""

import pytest

from kvd.commands.base import Error, Ok
from kvd.commands.server import Check
from kvd.commands.values import MultiSet, Set
from kvd.errors import OutcomeUnknown
from kvsh.grammar.parse import parse
from kvsh.script.bulk import ANY_PLAIN_SET, Sent
from kvsh.script.lines import SourceLine
from kvsh.script.refused import command_of, is_refused, select_retries

OK = Ok(1, None)
BUSY = Error("BUSY", "far behind", {"outcome": "not executed"})
CONFLICT = Error("CONFLICT", "it exists", {"outcome": "failed"})


def make_sent(*lines):
    """Return lines as they are sent: plain SETs together."""
    wheres = [SourceLine("f", number, line.encode()) for number, line in enumerate(lines, 1)]
    command = ANY_PLAIN_SET if lines[0].startswith("SET") and len(lines[0].split()) == 3 else parse(wheres[0].line)
    return Sent(wheres, command, len(lines))


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([("INCR a", BUSY), ("INCR b", BUSY)], {0, 1}),
        ([("INCR a", BUSY), ("SET a 1", OK), ("GET a", OK)], {0, 1, 2}),  # the end is the same
        ([("INCR a", BUSY), ("INCR b", OK)], {0}),
        ([("INCR a", BUSY), ("INCR aa", OK)], {0}),
        ([("INCR a", BUSY), ("INCR a", OK)], set()),  # it would come too late
        ([("INCR a", BUSY), ("INCR b", BUSY), ("INCR a", OK)], {1}),
        ([("INCR a", BUSY), ("GET a", OK), ("CLEARPREFIX ''", OK)], set()),
        ([("INCR a", BUSY), ("CLEARPREFIX b", OK), ("CLEARPREFIX a", CONFLICT)], {0, 2}),
        ([("CLEARPREFIX a", BUSY), ("INCR ab", OK)], set()),
        ([("INCR a", BUSY), ("INCR a", OutcomeUnknown("?"))], set()),
        ([("SET a 1", BUSY), ("SET a 2 NX", CONFLICT)], {0, 1}),
    ],
)
def test_what_is_sent_again(outcomes, expected):
    assert select_retries([(make_sent(line), outcome) for line, outcome in outcomes]) == expected


def test_many_lines_are_sent_again_as_they_were_sent():
    assert command_of(make_sent("SET a 1")) == Set(b"a", b"1")
    assert command_of(make_sent("SET a 1", "set b 2")) == MultiSet([(b"a", b"1"), (b"b", b"2")])
    assert command_of(make_sent("INCR a")) == parse(b"INCR a")
    assert select_retries([(make_sent("SET a 1", "SET b 1"), BUSY), (make_sent("INCR b"), OK)]) == set()


def test_a_task_that_finds_another_at_work_is_not_sent_again():
    assert not is_refused(Sent([], Check()), BUSY)
    assert is_refused(make_sent("INCR a"), BUSY)
    assert not is_refused(make_sent("INCR a"), OK)
