"""Changes as a person sees them: with the time of day, in colours."""

import time

from kvd.commands.model import Change
from kvsh.ui.looks import change_text


def test_a_change_has_the_time_of_day_or_the_day_too(monkeypatch):
    monkeypatch.setattr("kvsh.ui.looks.time.localtime", lambda at=1764547200.0: time.gmtime(at))
    today = Change("SET", 42, b"SET", b"SET", 0, None, 1764547200000 + 3723_000)
    assert change_text(today, color=False) == '01:02:03     42  SET SET "SET"'
    before = Change("CLEAR", 7, b"k", None, 0, None, 1764547199000)
    assert change_text(before, color=False) == "2025-11-30 23:59:59      7  CLEAR k"


def test_the_kind_has_a_colour():
    at = int(time.time() * 1000)
    for kind, color in (("SET", "32"), ("CLEAR", "31"), ("EXPIRED", "33")):
        text = change_text(Change(kind, 1, kind.encode(), None, 0, None, at), color=True)
        assert text.startswith("\x1b[90m")
        assert text.endswith(f"     1  \x1b[{color}m{kind}\x1b[0m {kind}")
