"""Tables: the names of the columns above the rows, for reading only."""

import pytest

from kvd.commands.changes import Changes, History
from kvd.commands.inspection import Clients, SlowLog
from kvd.commands.keys import Scan
from kvd.commands.server import Commands
from kvd.commands.values import MultiGet
from kvsh.render import FORMATS

SET = ("SET", 42, b"user:1", b"Ada", 0, None, 5)
HISTORY = """\
1)    kind  revision  key       value  previous  expires  time
   1) SET   42        "user:1"  "Ada"  0         (nil)    5
2) (integer) 41"""
MAPS = [{"number": 1, "command": "SET"}, {"number": 22, "who": "ada"}]


@pytest.mark.parametrize("form", ["terminal", "pretty"])
@pytest.mark.parametrize(
    ("command", "result", "expected"),
    [
        (
            Scan(values=True),
            [[(b"k", b"v", 3, None)], b"k"],
            '1)    key  value  revision  expires\n   1) "k"  "v"    3         (nil)\n2) "k"',
        ),
        (
            Scan(sizes=True),
            [[(b"k", 100, 3, None)], None],
            '1)    key  size  revision  expires\n   1) "k"  100   3         (nil)\n2) (nil)',
        ),
        (
            Changes(0),
            [SET] * 10,
            "    kind  revision  key       value  previous  expires  time\n"
            + "\n".join(f'{n:>2}) SET   42        "user:1"  "Ada"  0         (nil)    5' for n in range(1, 11)),
        ),
        (
            History(b"k"),
            [[SET], 41],
            HISTORY,
        ),
        (SlowLog(), MAPS, "   number  command  who\n1) 1       SET\n2) 22               ada"),
        (Scan(), [[b"k"], None], '1) 1) "k"\n2) (nil)'),
        (Scan(values=True), [[], None], "1) (empty)\n2) (nil)"),
        (Clients(), [], "(empty)"),
        (Commands(), [{"name": "GET", "examples": ["GET city"]}], "1) name  GET\n   examples\n     1) GET city"),
        (MultiGet([b"a"]), [None], "1) (nil)"),
    ],
)
def test_what_is_read(form, command, result, expected):
    assert FORMATS[form](command, result).decode() == expected + "\n"


@pytest.mark.parametrize("form", ["raw", "csv", "json", "nul"])
def test_programs_get_no_names(form):
    for command, result in [(Changes(0), [SET]), (Scan(values=True), [[(b"k", b"v", 3, None)], None])]:
        assert b"revision" not in FORMATS[form](command, result)
