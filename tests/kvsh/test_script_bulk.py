"""SET lines sent together are what they would be one by one: replies, order, failures."""

import random

from hypothesis import example, given
from hypothesis import strategies as st

from kvd.client.stream import Stream
from kvd.commands.base import Error, Ok
from kvd.commands.values import Get, MultiSet, Set
from kvd.errors import OutcomeUnknown
from kvsh.grammar.parse import parse
from kvsh.script.bulk import PAIRS_MAX, plain_set
from kvsh.script.engine import Script
from kvsh.script.files import opened
from kvsh.script.lines import Where
from kvsh.script.output import Output

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


class FakeStream:
    """A stream that keeps what is sent and gives the outcomes it is told to, in order."""

    endpoint = "ipc://fake"
    window = 256
    until_readable = Stream.until_readable

    def __init__(self, outcome):
        self.outcome = outcome
        self.sent = []
        self.waiting = []

    @property
    def in_flight(self):
        return len(self.waiting)

    def send(self, command, tag):
        self.sent.append(command)
        self.waiting.append((tag, self.outcome(command)))

    def receive(self, wait_s=None):
        waiting, self.waiting = self.waiting, []
        return waiting


class Kept(Output):
    """An output that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.messages = []

    def flush(self):
        self.written, self.parts = self.written + b"".join(self.parts), []

    def message(self, text):
        self.messages.append(text)


def run(lines, outcome, **options):
    stream, output = FakeStream(outcome), Kept()
    script = Script(stream, output, form="raw", **options)
    for number, line in enumerate(lines, 1):
        script.take(Where("s", number, line))
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
    assert (script.count, script.code) == (PAIRS_MAX + 5, 0)


def test_with_stop_on_error_or_echo_each_line_goes_alone():
    for option in ("stop_on_error", "echo"):
        _, stream, _ = run([b"set a 1", b"set b 2"], lambda _: Ok(1, None), **{option: True})
        assert [type(command) for command in stream.sent] == [Set, Set]


def test_a_refusal_is_told_for_each_line():
    lines = [b"set a 1", b"set b 2", b"set c 3"]
    script, _, output = run(lines, lambda _: Error("FULL", "the disk is full", {"outcome": "not executed"}))
    assert [text.split(": ")[1] for text in output.messages] == ["s:1", "s:2", "s:3"]
    assert (script.failures, script.code) == (3, 4)


def test_a_lost_reply_is_told_of_the_first_line_and_counts_the_others(tmp_path):
    stream, output = FakeStream(lambda _: OutcomeUnknown("MULTISET: no reply in time")), Kept()
    script = Script(stream, output, form="raw")
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
