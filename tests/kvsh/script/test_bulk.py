"""SET lines sent together are what they would be one by one: replies, order, failures."""

import random
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvd.client.stream import Stream
from kvd.commands.base import Error, Ok
from kvd.commands.values import Get, MultiSet, Set
from kvd.errors import OutcomeUnknown
from kvsh.grammar.parse import parse
from kvsh.script import bulk, engine, sender
from kvsh.script.bulk import PAIRS_MAX, VALUE_BYTES_MAX, plain_set, plain_sets
from kvsh.script.engine import Script, ScriptOptions
from kvsh.script.lines import LineBlock, SourceLine
from kvsh.script.report import Reporter
from kvsh.ui.files import opened
from kvsh.ui.output import Output

words = st.binary(min_size=1, max_size=12) | st.sampled_from(
    [b"set", b"SET", b"NX", b"#a", b'"', b"'", b"a'", b"x" * 5000]
)


@given(st.lists(words, max_size=5), st.sampled_from([b" ", b"\t", b"  ", b"\x0b", b"\xa0"]))
@example([b"sEt", b"a", b"b"], b" ")
@example([b"set", b"a", b"NX"], b" ")
@example([b"set", b"x" * 5000, b"b"], b" ")
def test_a_plain_set_is_what_the_grammar_says(parts, blank):
    line = blank.join(parts)
    if pair := plain_set(line):
        assert parse(line) == Set(*pair)


def test_which_lines_are_plain():
    assert plain_set(b"  set a b \r") == (b"a", b"b")
    assert plain_set(b"SET k \xff\x00") == (b"k", b"\xff\x00")
    for line in (b"set a", b"set a b c", b"set a 'b'", b"reset a b", b"multiset a b", b"set a b EX 5", b"# set a b"):
        assert plain_set(line) is None


blanks = st.sampled_from([b" ", b"\t", b"  ", b"\x0b", b"\r", b"\xa0", b"\x1c"])
plain_lines = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from([b"", b" "]),
    st.sampled_from([b"SET", b"set", b"sEt"]),
    blanks,
    st.binary(min_size=1, max_size=4),
    blanks,
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"", b" ", b"\r"]),
)
any_lines = st.builds(bytes.join, blanks, st.lists(words, max_size=5)).filter(lambda line: b"\n" not in line)


@given(st.lists(plain_lines.filter(lambda line: b"\n" not in line) | any_lines, min_size=1, max_size=6))
@example([b"set a b", b"set a", b"SET set c d"])
@example([b"set a b", b"set", b"a b"])
@example([b"set a b", b"get c d"])
@example([b"set a b", b"set c 'd'"])
@example([b"set a b", b'set c "d"'])
@example([b"set a b", b"set a " + b"x" * (VALUE_BYTES_MAX + 1)])
@example([b"set a b", b"set " + b"x" * VALUE_BYTES_MAX + b" b"])
def test_plain_sets_are_those_of_their_lines(lines):
    pairs = plain_sets(lines)
    alone = [plain_set(line) for line in lines]
    if pairs is not None:
        assert pairs == alone
    elif max(map(len, lines)) <= VALUE_BYTES_MAX and not any(quote in line for line in lines for quote in b"\"'"):
        assert None in alone


class FakeStream:
    """A stream that records commands, and returns the outcomes of a function in order."""

    endpoint = "ipc://fake"
    timeout = 0
    window = 256
    until_readable = Stream.until_readable

    def __init__(self, outcome):
        self.outcome = outcome
        self.sent = []
        self.waiting = []
        self.received_at_once = None

    @property
    def in_flight(self):
        return len(self.waiting)

    def send(self, command, tag):
        self.sent.append(command)
        self.waiting.append((tag, self.outcome(command)))

    def receive(self, wait_s=None):
        at_once = len(self.waiting) if self.received_at_once is None else self.received_at_once
        received, self.waiting = self.waiting[:at_once], self.waiting[at_once:]
        return received


class RecordedOutput(Output):
    """An output that records its data and messages."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.messages = []

    def flush(self):
        self.written, self.parts = self.written + b"".join(self.parts), []

    def message(self, text):
        self.messages.append(text)


class FakeDaemon:
    """A daemon that refuses keys that begin with `x`, all pairs of a command or none."""

    def __init__(self):
        self.entries = {}

    def __call__(self, command):
        pairs = command.pairs if isinstance(command, MultiSet) else [(command.key, getattr(command, "value", None))]
        if any(key.startswith(b"x") for key, _ in pairs):
            return Error("DENIED", "not yours", {"outcome": "not executed"})
        if isinstance(command, Get):
            return Ok(1, self.entries.get(command.key))
        self.entries.update(pairs)
        return Ok(1, None)


def script_on(stream, output, **options):
    return Script(stream, Reporter(output, stream.endpoint, form="raw"), ScriptOptions(**options))


def summary_of(script):
    return script.count, script.reporter.failures, script.reporter.code


def run_chunks(chunks, **limits):
    """Run a script that comes in chunks; return the outcome of each line, the entries, the output and the script."""
    daemon, outcomes = FakeDaemon(), []
    stream, output = FakeStream(daemon), RecordedOutput()
    stream.until_readable = lambda fd, work: None
    stream.received_at_once = limits.get("at_once")
    script = script_on(stream, output)
    on_outcome = script.on_outcome
    script.sender.on_outcome = lambda sent, outcome: (
        outcomes.extend((where, outcome) for where in sent.each()),
        on_outcome(sent, outcome),
    )
    coming = iter([*chunks, b""])
    with (
        patch.object(engine.os, "read", lambda fd, size: next(coming)),
        patch.multiple(bulk, PAIRS_MAX=limits.get("pairs", PAIRS_MAX)),
        patch.multiple(sender, LINES_IN_FLIGHT_MAX=limits.get("lines", 8_000)),
        patch.multiple(engine, BLOCK_LINES=limits.get("block", 128), BLOCK_LINES_MIN=1),
        opened("/dev/null") as fd,
    ):
        script.run(fd, "s")
    output.flush()
    return outcomes, daemon.entries, output, script


def cut(text, at):
    bounds = [0, *sorted(place % (len(text) + 1) for place in at), len(text)]
    return [text[start:end] for start, end in pairwise(bounds) if start < end]


line_of_script = st.one_of(
    st.builds(b"set %b %b".__mod__, st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(min_size=1, max_size=3))),
    st.builds(b"SET %b v".__mod__, st.binary(min_size=1, max_size=3)),
    st.sampled_from([b"get a", b"", b"# set a b", b"set a 'b'", b"nonsense", b"begin", b"discard", b"set a 1\r"]),
)
scripts = st.lists(line_of_script, max_size=30).map(b"\n".join) | st.binary(max_size=60)
cuts = st.lists(st.integers(min_value=0, max_value=500), max_size=5)
limits = st.fixed_dictionaries(
    {"pairs": st.integers(1, 9), "lines": st.integers(0, 20), "block": st.integers(1, 9), "at_once": st.integers(1, 4)}
)


@given(scripts.filter(lambda text: b"x" not in text.lower()), cuts, limits)
def test_blocks_are_what_their_lines_are_however_they_come(text, at, limits):
    outcomes, entries, output, script = run_chunks(cut(text, at), **limits)
    with patch.object(engine, "plain_sets", lambda lines: None), patch.object(engine, "plain_set", lambda line: None):
        outcomes_alone, entries_alone, output_alone, alone = run_chunks([text])
    assert [(where, outcome) for where, outcome in outcomes] == outcomes_alone
    assert (entries, output.written, output.messages) == (entries_alone, output_alone.written, output_alone.messages)
    assert (script.count, script.reporter.failures, script.reporter.code) == (
        alone.count,
        alone.reporter.failures,
        alone.reporter.code,
    )


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"x1", b"x2"]), max_size=40), limits)
@example([b"a", b"x1", b"b", b"c", b"x1", b"b"], {"pairs": 2, "lines": 20, "block": 1, "at_once": 1})
def test_what_was_refused_together_is_told_apart_and_in_order(keys, limits):
    text = b"".join(b"set %b %d\n" % (key, number) for number, key in enumerate(keys, 1))
    outcomes, entries, _, script = run_chunks([text], **limits)
    assert [where.number for where, _ in outcomes] == list(range(1, len(keys) + 1))
    done = [plain_set(where.line) for where, outcome in outcomes if isinstance(outcome, Ok)]
    assert entries == dict(done)
    set_last = {key: b"%d" % number for number, key in enumerate(keys, 1) if not key.startswith(b"x")}
    assert entries == set_last  # a line refused though it was allowed is one that another of its key came after
    assert script.reporter.failures == len(keys) - len(done)


def run(lines, outcome, **options):
    stream, output = FakeStream(outcome), RecordedOutput()
    script = script_on(stream, output, **options)
    for number, line in enumerate(lines, 1):
        script.take(SourceLine("s", number, line))
    script.drain()
    output.flush()
    return script, stream, output


def test_sets_go_together_until_another_command_comes():
    lines = [b"set k%d v" % number for number in range(PAIRS_MAX + 3)] + [b"get a", b"set b c"]
    script, stream, output = run(lines, lambda command: Ok(1, b"x" if isinstance(command, Get) else None))
    assert [type(command) for command in stream.sent] == [MultiSet, MultiSet, Get, MultiSet]
    assert [pair for command in stream.sent if isinstance(command, MultiSet) for pair in command.pairs] == [
        *((b"k%d" % number, b"v") for number in range(PAIRS_MAX + 3)),
        (b"b", b"c"),
    ]
    assert output.written == b"OK\n" * (PAIRS_MAX + 3) + b"x\nOK\n"
    assert (script.count, script.reporter.code) == (PAIRS_MAX + 5, 0)


def test_with_stop_on_error_or_echo_each_line_goes_alone():
    for option in ("stop_on_error", "echo"):
        _, stream, _ = run([b"set a 1", b"set b 2"], lambda _: Ok(1, None), **{option: True})
        assert [type(command) for command in stream.sent] == [Set, Set]


def test_a_refusal_is_told_for_each_line():
    lines = [b"set a 1", b"set b 2", b"set c 3"]
    script, _, output = run(lines, lambda _: Error("FULL", "the disk is full", {"outcome": "not executed"}))
    assert [text.split(": ")[1] for text in output.messages] == ["s:1", "s:2", "s:3"]
    assert (script.reporter.failures, script.reporter.code) == (3, 4)


def test_a_line_that_is_refused_takes_no_other_with_it():
    lines = [b"set a 1", b"set x 2", b"set c 3"]
    script, stream, output = run(lines, FakeDaemon())
    assert [type(command) for command in stream.sent] == [MultiSet, Set, Set, Set]
    assert [text.split(": ")[1] for text in output.messages] == ["s:2"]
    assert (output.written, script.reporter.failures, script.reporter.code) == (b"OK\nOK\n", 1, 4)


def test_not_where_another_command_came_between():
    daemon = FakeDaemon()
    script, _, output = run([b"set a 1", b"set x 2", b"get a"], daemon)
    script.run_block(LineBlock("s", 4, [b"set a 3", b"set x 4"]))  # from now on each goes alone
    script.take(SourceLine("s", 6, b"get a"))
    script.drain()
    output.flush()
    assert [text.split(": ")[1] for text in output.messages] == ["s:1", "s:2", "s:5"]
    assert (output.written, daemon.entries) == (b"\nOK\n3\n", {b"a": b"3"})


@pytest.mark.parametrize(("code", "outcome"), [("INTERNAL", "unknown"), ("READ_ONLY", "not executed"), ("FULL", None)])
def test_what_no_line_alone_is_the_cause_of_or_may_have_been_executed_is_not_sent_again(code, outcome):
    details = {} if outcome is None else {"outcome": outcome}
    _, stream, output = run([b"set a 1", b"set b 2"], lambda _: Error(code, "no", details))
    assert [type(command) for command in stream.sent] == [MultiSet]
    assert len(output.messages) == 2


def test_what_ctrl_c_found_gathered_was_not_sent_and_is_not_counted():
    stream, output = FakeStream(FakeDaemon()), RecordedOutput()
    script = script_on(stream, output)
    script.take(SourceLine("s", 1, b"get a"))
    script.take(SourceLine("s", 2, b"set a 1"))
    script.on_interrupt()
    assert output.messages == ["kvsh: interrupted after 1 commands"]


def test_after_ctrl_c_nothing_is_sent_again():
    stream, output = FakeStream(FakeDaemon()), RecordedOutput()
    script = script_on(stream, output)
    for number, line in enumerate([b"set a 1", b"set x 2"], 1):
        script.take(SourceLine("s", number, line))
    script.sender.release()
    script.on_interrupt()
    assert [type(command) for command in stream.sent] == [MultiSet]
    assert output.messages[-1] == "kvsh: interrupted after 2 commands"


def test_no_more_lines_are_in_flight_than_there_is_room_for():
    most = []
    send = FakeStream.send

    def record(self, command, tag):
        send(self, command, tag)
        most.append(sum(tag.size for tag, _ in self.waiting))

    with patch.object(FakeStream, "send", record):
        run_chunks([b"set a 1\n" * 100], pairs=3, lines=20, block=1, at_once=1)
    assert 20 - 3 < max(most) <= 20


def test_a_line_is_not_held_for_long_though_input_comes_without_a_pause():
    sent = []
    with patch.object(FakeStream, "send", lambda self, command, tag: sent.append(command)):
        for held_s in (60, 0):
            with patch.object(sender, "HELD_S", held_s):
                run_chunks([b"set a 1\n", b"set b 2\n", b"set c 3\n"])
    assert [len(command.pairs) for command in sent] == [3, 1, 1, 1]


def test_a_lost_reply_is_told_of_the_first_line_and_counts_the_others(tmp_path):
    stream, output = FakeStream(lambda _: OutcomeUnknown("MULTISET: no reply in time")), RecordedOutput()
    script = script_on(stream, output)
    (tmp_path / "s").write_text("\n".join(f"set k{number} v" for number in range(250)))
    stream.register = lambda poller: None
    with opened(str(tmp_path / "s")) as fd:
        assert script.run(fd, "s") == 3
    assert output.messages[0].startswith("kvsh: s:1: SET: no reply in time")
    assert "MULTISET" not in output.messages[0]
    assert "stopped; 249 commands sent after it" in output.messages[1]


def test_the_same_script_one_by_one_gives_the_same_bytes(kvsh, kv, tmp_path):
    chance = random.Random(5)
    keys = [f"k{number}" for number in range(7)]
    lines = []
    for number in range(700):
        key = chance.choice(keys)
        other = chance.choice([f"get {key}", f"clear {key}", f"entry {key}", f"incr n{key}", f"set {key} '{number}'"])
        lines.append(other if chance.random() < 0.1 else f"SET {key} {number}")
    (tmp_path / "s.kv").write_text("\n".join(lines))
    together = kvsh("-f", str(tmp_path / "s.kv"))
    revision = kv.info()["server"]["revision"]
    for key in list(kv.scan()):
        kv.clear(key)
    alone = kvsh("-e", "-f", str(tmp_path / "s.kv"))
    assert without_revisions(together) == without_revisions(alone)
    assert together[0] == 0
    assert kv.info()["server"]["revision"] > revision


def without_revisions(ran):
    return ran[0], [line for line in ran[1].splitlines() if not line.startswith((b"revision", b"created"))], ran[2]
