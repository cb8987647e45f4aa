"""The README's examples, run as they stand there, with nothing but the endpoints changed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def prepared(text, daemon):
    """Return an example for this daemon's endpoints; msgpack is told by the library that we have."""
    text = text.replace("tcp://127.0.0.1:7411", daemon.commands).replace("tcp://127.0.0.1:7412", daemon.changes)
    text = text.replace("Client()", f"Client({daemon.commands!r})")
    if "import msgpack" not in text:
        return text
    library = "from msgspec import msgpack\nmsgpack.packb, msgpack.unpackb = msgpack.encode, msgpack.decode\n"
    return text.replace("import msgpack\n", library)


def run(text):
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True).stdout


def example(word):
    [text] = [text for text in EXAMPLES if word in text]
    return text


def test_a_plain_req_socket_in_ten_lines(daemon):
    lines = run(prepared(example("zmq.REQ"), daemon)).splitlines()
    assert lines[:4] == [
        "['OK', 1, None]",
        "['OK', 1, b'Ahmedabad']",
        "['OK', 1, [b'Ahmedabad', None]]",
        "['OK', 2, 1]",
    ]
    assert lines[4].startswith("['ERROR', 'UNKNOWN_COMMAND'")


def test_a_plain_sub_socket_sees_its_prefix_only_and_all_of_it(daemon, kv):
    text = prepared(example("zmq.SUB"), daemon).replace("print(", "print(flush=True, *(").replace("(body))", "(body)))")
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    try:
        assert "HEARTBEAT" in process.stdout.readline()
        for number in range(50):
            kv.set(f"user:{number}", "x")
            kv.set(f"other:{number}", "x")
        topics = []
        while len(topics) < 50:
            topic = process.stdout.readline().split()[0]
            if topic != "b'c'":
                topics.append(topic)
        assert topics == [f"b'kuser:{number}'" for number in range(50)]
    finally:
        process.kill()
        process.communicate()


def test_the_python_client(daemon):
    lines = run(prepared(example("from kvd import Client"), daemon)).splitlines()
    assert len(lines) == 1000
    assert lines[-1].endswith("SET b'user:999'")


@pytest.mark.parametrize("link", re.findall(r"\]\((\S+?)\)", README))
def test_every_link_leads_somewhere(link):
    assert (Path(__file__).parent.parent / link).exists()
