"""How far an import is applied, by the daemon's replies alone; and the bar."""

import os
import signal

import pytest

from kvd.commands.base import Error, Ok
from kvd.commands.values import MultiSet, Set
from kvd.errors import OutcomeUnknown
from kvd.transfer import importer as importer_module
from kvd.transfer.importer import BatchFailed, Importer
from kvd.transfer.lines import BadLine, Record
from kvd.transfer.progress import bar, duration_text
from kvd.transfer.signals import Interrupted, Signals

LATER = 4_000_000_000_000


class FakeStream:
    """Answers in order, with what is given for the number of a command, else OK; remembers how much was in flight."""

    timeout = 0

    def __init__(self, **outcomes):
        self.outcomes = {int(name[1:]): outcome for name, outcome in outcomes.items()}
        self.sent, self.waiting, self.most = [], [], (0, 0, 0)

    @property
    def in_flight(self):
        return len(self.waiting)

    def send(self, command, tag):
        self.sent.append(command)
        self.waiting.append((tag, self.outcomes.get(len(self.sent), Ok(1, None))))
        tags = [tag for tag, _ in self.waiting]
        now = (len(tags), sum(tag.entries for tag in tags), sum(tag.bytes for tag in tags))
        self.most = tuple(map(max, self.most, now))

    def receive(self, _=None):
        return [self.waiting.pop(0)] if self.waiting else []


def importer_of(stream, prefix=b"", tick=lambda: None):
    return Importer(stream, Signals(), prefix=prefix, skip=0, tick=tick)


def plain(count, size=1, expires=None):
    return [Record(n, n, (b"%d" % n, b"x" * size, expires)) for n in range(1, count + 1)]


def make_refusal(code):
    return Error(code, "no", {"outcome": "failed"})


@pytest.mark.parametrize("code", ["FULL", "READ_ONLY", "DENIED", "BUSY", "INTERNAL"])
def test_after_a_refusal_nothing_more_is_sent_and_all_in_flight_is_awaited(code):
    stream = FakeStream(_3=make_refusal(code), _4=make_refusal("INTERNAL"))
    importer = importer_of(stream)
    with pytest.raises(BatchFailed, match=f"{code}: no") as caught:
        importer.run(plain(50_000))
    assert (caught.value.batch.first, caught.value.batch.last, importer.done, importer.entries) == (401, 600, 400, 400)
    assert stream.in_flight == 0
    assert len(stream.sent) <= 3 + importer_module.ENTRIES_MAX // importer_module.PAIRS_MAX


def test_a_lost_daemon_is_not_waited_for():
    stream = FakeStream(_2=OutcomeUnknown("broke"))
    importer = importer_of(stream)
    with pytest.raises(BatchFailed, match="broke"):
        importer.run(plain(50_000))
    assert (importer.done, stream.in_flight > 0) == (200, True)


def test_what_is_in_flight_is_bounded():
    for records in (plain(20_000), plain(200, 300_000), plain(9_000, expires=LATER), plain(5, 2**24)):
        stream = FakeStream()
        importer = importer_of(stream)
        importer.run(records)
        commands, entries, size = stream.most
        assert commands <= 1_000
        assert entries <= importer_module.ENTRIES_MAX
        assert size <= max(importer_module.BYTES_MAX, 2**24 + 1)
        assert (importer.done, importer.entries) == (len(records), len(records))


def test_an_entry_that_expires_comes_after_those_before_it():
    stream = FakeStream()
    records = plain(3)
    records[1] = Record(2, 2, (b"2", b"x", LATER))
    importer_of(stream).run(records)
    assert stream.sent == [MultiSet([(b"1", b"x")]), Set(b"2", b"x", at=LATER), MultiSet([(b"3", b"x")])]


def test_an_interruption_waits_for_what_is_in_flight_and_sends_no_more():
    def came():
        if len(stream.sent) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    stream = FakeStream()
    importer = importer_of(stream, tick=came)
    with importer.signals, pytest.raises(Interrupted, match="SIGTERM"):
        importer.run(plain(50_000))
    assert (importer.done, stream.in_flight, len(stream.sent)) == (1_200, 0, 6)


def test_a_bad_line_and_a_file_that_cannot_be_read_on_come_after_the_lines_before_them():
    for error in (BadLine(8, "junk"), OSError(5, "broken disk")):

        def lines(error=error):
            yield from plain(7)
            raise error

        importer = importer_of(FakeStream())
        with pytest.raises(type(error)):
            importer.run(lines())
        assert importer.done == 7


def test_only_a_second_signal_is_urgent_and_only_where_it_may_be():
    for may in (False, True):
        with Signals(second_is_urgent=may) as signals:
            os.kill(os.getpid(), signal.SIGINT)
            if may:
                with pytest.raises(Interrupted) as caught:
                    os.kill(os.getpid(), signal.SIGTERM)
                assert (caught.value.number, caught.value.is_urgent) == (signal.SIGINT, True)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(Interrupted), signals.interruptible():
                pytest.fail("it continues")


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ((5_000, 100, None, 2.0), "5,000 entries  2,500/s"),
        ((5_000, 25, 100, 2.0), " 25% [######------------------]  5,000 entries  2,500/s  0:06 left"),
        ((5_000, 1, 10_000, 2.0), "  0% [------------------------]  5,000 entries  2,500/s  5:33:18 left"),
        ((0, 0, 100, 0.0), "  0% [------------------------]  0 entries  0/s"),
        ((9, 120, 100, 1.0), "100% [########################]  9 entries  9/s  0:00 left"),
    ],
)
def test_the_bar(figures, text):
    assert bar(*figures) == text


def test_the_last_line():
    assert duration_text(1_000_000, 9.84) == "1,000,000 entries in 9.8 s"
    assert duration_text(1, 0.01) == "1 entry in 0.0 s"
