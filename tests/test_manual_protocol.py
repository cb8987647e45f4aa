"""kvd-protocol(7) and kvd-commands(7): the codes, bytes and client are as described, every command is listed."""

import re
import subprocess
import sys

import pytest
import zmq
from support.examples import prepare_example
from support.golden import golden_lines
from support.mdoc import MAN, literals, section

from kvd.commands import COMMANDS
from kvd.commands.manual import make_page
from kvd.errors import CODES

PROTOCOL = MAN / "kvd-protocol.7"
COMMANDS_PAGE = MAN / "kvd-commands.7"


def test_each_error_code_is_told_with_its_outcome_and_no_other():
    told = re.findall(r"^\.It Li (\S+) , No (.*)$", section(PROTOCOL, "ERROR CODES"), re.MULTILINE)
    assert dict(told) == {code: error.outcome for code, error in CODES.items()}
    assert len(told) == len(CODES)


def test_the_client_runs_and_prints_what_the_page_says(daemon):
    client, printed = literals(section(PROTOCOL, "A CLIENT"))
    assert all(len(line) <= 100 for line in client.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", prepare_example(client, daemon)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == printed


def test_the_client_tells_what_was_refused_and_that_nobody_is_there(daemon):
    client, _ = literals(section(PROTOCOL, "A CLIENT"))
    functions = prepare_example(client, daemon).partition("\nurl = ")[0]
    names = {}
    exec(functions, names)
    with pytest.raises(RuntimeError, match="BAD_ARGUMENT"):
        names["call"](daemon.commands, "GET")
    with pytest.raises(TimeoutError):
        names["call"](daemon.commands + "-not", "PING", tries=2, seconds=0.01)


def session():
    """Return the worked session: (bytes sent, bytes of the reply) in hex."""
    lines = literals(section(PROTOCOL, "EXAMPLES"))[0].splitlines()
    hexes = [line.split() for line in lines if not line.startswith("#")]
    assert [mark for mark, _ in hexes] == [">", "<"] * (len(hexes) // 2)
    sent, received = ([text for _, text in hexes[start::2]] for start in (0, 1))
    return list(zip(sent, received, strict=True))


def test_the_session_is_what_a_daemon_says(daemon, context):
    req = context.socket(zmq.REQ)
    req.rcvtimeo = 60_000
    req.connect(daemon.commands)
    for sent, received in session():
        req.send(bytes.fromhex(sent))
        assert req.recv().hex() == received


def test_the_bytes_are_the_golden_ones():
    golden = {body for _, body in golden_lines("commands")}
    short = "93a3534554c40463697479c40941686d656461626164"  # SET without what is optional: no encoder of ours makes it
    assert {sent for sent, _ in session()} - {short} <= golden
    _, apart, published = literals(section(PROTOCOL, "EXAMPLES"))
    assert "".join(re.findall(r"^((?:[0-9a-f]+ )+) ", apart, re.MULTILINE)).replace(" ", "") == short
    told = dict(golden_lines("published"))
    assert published.split() == [
        told["SET.1.topic"],
        told["SET.1.body"],
        told["control.topic"],
        told["HEARTBEAT"],
    ]


def test_the_page_of_the_commands_is_current():
    is_current = COMMANDS_PAGE.read_text(encoding="utf-8") == make_page()
    assert is_current, "run: make generate"


def test_each_command_is_told_and_no_other():
    told = re.findall(r"^\.Ss (\S+)$", COMMANDS_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert told == list(COMMANDS)
