"""Junk of every kind: no exception gets out, there is an answer or a counted drop, and others are served (S6)."""

import contextlib
import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from kvd import wire
from kvd.commands import COMMANDS, Command
from kvd.errors import Refused
from kvsh.grammar.parse import Mistake, parse

encode = msgspec.msgpack.encode

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text()
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
LIKE_COMMANDS = st.builds(
    lambda name, rest: encode([name, *rest]), st.sampled_from(list(COMMANDS)), st.lists(TREES, max_size=6)
)
NESTED = st.integers(1, 5000).map(lambda depth: encode(["ONCE", b"12345678"])[:-1] + b"\x91" * depth)
VALID = [
    encode(command)
    for command in (
        ["SET", b"key", b"value", 5, None, None, None, None, 7, True],
        ["MULTISET", [[b"a", b"1"], [b"b", b"2"]]],
        ["TRANSACTION", [[b"a", 0]], [["SET", b"a", b"1"], ["INCR", b"n", 3]]],
        ["ONCE", b"12345678", ["CLEAR", [b"a", b"b"]]],
        ["CHANGES", 0, b"", 10, 0],
    )
]


@st.composite
def mutate_body(draw):
    """Return a valid body with some bytes changed, cut or doubled."""
    body = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        how = draw(st.sampled_from(["change", "cut", "double"]))
        if how == "change" and body:
            body[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del body[at : at + draw(st.integers(1, 4))]
        else:
            body[at:at] = body[at : at + draw(st.integers(1, 8))]
    return bytes(body)


BODIES = st.binary(max_size=200) | TREES.map(encode) | LIKE_COMMANDS | NESTED | mutate_body()


@given(BODIES)
def test_a_body_is_a_command_or_refused(body):
    found = try_decode(body)
    if isinstance(found, Refused):
        assert found.outcome == "not executed"
        assert wire.decode_commands([encode(["PING"]), body]) is None
    else:
        assert isinstance(found, Command)
        [again] = wire.decode_commands([body])
        assert encode(again) == encode(found)


def try_decode(body):
    try:
        return wire.decode_command(body)
    except Refused as error:
        return error


@given(BODIES)
def test_a_reply_is_one_or_a_decode_error(body):
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        wire.decode_reply(body)


WORDS = st.sampled_from(
    [*COMMANDS, "BEGIN", "IF", "COMMIT", "EX", "LIMIT", '"', "'", "\\", "$'", "\x1b", "\n", " ", "7", "-1"]
)


@given(st.lists(WORDS | st.text(max_size=5), max_size=10).map(" ".join) | st.text(max_size=60))
def test_a_line_of_the_shell_is_a_command_or_an_error_with_a_sentence(line):
    check_line(line.encode(errors="surrogateescape" if line.isascii() else "surrogatepass"))


@given(st.binary(max_size=60))
def test_a_line_of_any_bytes_is_a_command_or_an_error_with_a_sentence(line):
    check_line(line)


def check_line(line):
    try:
        found = parse(line)
    except (Refused, Mistake) as error:
        found = str(error)
    assert isinstance(found, str | Command)
    assert found != ""


def some_frames(chance, bodies):
    """Return the frames of a message: an envelope that may be wrong, and a body that mostly is."""
    body = chance.choice(bodies)
    shape = chance.randrange(6)
    if shape == 0:
        return [chance.randbytes(chance.randrange(20)) for _ in range(chance.randrange(1, 15))]
    if shape == 1:
        return [body]
    if shape == 2:
        return [b"", body, body]
    return [*(chance.randbytes(4) for _ in range(chance.randrange(9))), b"", body]


def attack(daemon, bodies, seconds, seed):
    """Send junk over connections that come and go, while a good client is served; return how many messages."""
    chance, context, count = random.Random(seed), zmq.Context(), 0
    until = time.monotonic() + seconds
    with daemon.client(timeout=60) as kv:
        number = 0
        while time.monotonic() < until:
            sock = context.socket(chance.choice([zmq.DEALER, zmq.DEALER, zmq.REQ, zmq.SUB]))
            sock.set(zmq.LINGER, 0)
            sock.connect(daemon.commands)
            with contextlib.suppress(zmq.ZMQError):  # a SUB cannot send, a REQ only once
                for _ in range(chance.randrange(1, 50)):
                    sock.send_multipart(some_frames(chance, bodies), zmq.NOBLOCK)
                    count += 1
            number += 1
            assert kv.once().incr("good") == number
            sock.close()
        context.destroy(linger=0)
        return count, kv.info("traffic")["traffic"]


@pytest.fixture(scope="session")
def bodies():
    """Return bodies of every kind that change nothing of ours."""
    found = []

    @settings(max_examples=300, database=None, derandomize=True)
    @given(BODIES)
    def collect(body):
        found.append(body)

    collect()
    return [body for body in found if b"good" not in body and b"CLEARPREFIX" not in body and b"COMPACT" not in body]


def fuzz(daemon, bodies, seconds, seed):
    count, traffic = attack(daemon, bodies, seconds, seed)
    told = f"malformed {traffic['malformed']}, errors {traffic['errors']}"
    print(f"S6, seed {seed}: {count} messages in {seconds} s; {told}")
    assert daemon.process.poll() is None
    assert traffic["malformed"] > 0
    assert traffic["errors"] > 0
    assert "event=defect" not in daemon.log.read_text()


def test_a_daemon_lives_through_junk_and_serves_others(daemon, bodies):
    fuzz(daemon, bodies, 2, seed=1)


@pytest.mark.long
def test_a_daemon_lives_through_two_minutes_of_junk(daemon, bodies):
    fuzz(daemon, bodies, 120, seed=time.time_ns() % 1_000_000)


def test_each_body_behind_an_envelope_is_answered(daemon, bodies, context):
    sock = context.socket(zmq.DEALER)
    sock.set(zmq.RCVTIMEO, 60_000)
    sock.connect(daemon.commands)
    for number, body in enumerate(bodies):
        sock.send_multipart([b"%d" % number, b"", body])
    answered = set()  # in any order: CHECK and BACKUP run beside the others
    for _ in bodies:
        correlation, empty, reply = sock.recv_multipart()
        assert empty == b""
        answered.add(int(correlation))
        wire.decode_reply(reply)
    assert answered == set(range(len(bodies)))
    assert "event=defect" not in daemon.log.read_text()


@pytest.mark.long
@pytest.mark.parametrize("target", ["body", "words", "config", "access", "lines"])
def test_fuzzing_guided_by_coverage_finds_nothing(target, tmp_path):
    pytest.importorskip("atheris", reason="pip install atheris, where there is one for this Python")
    script = Path(__file__).with_name("guided_fuzz.py")
    done = subprocess.run([sys.executable, script, target, "60"], capture_output=True, cwd=tmp_path, check=False)
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said[-3000:]
    print(f"S6: {target}: {said.partition('number_of_executed_units:')[2].split()[0]} inputs in 60 s")
