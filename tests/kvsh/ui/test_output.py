"""Standard streams that are closed or full: a sentence and a code of their own, never a traceback."""

import subprocess

import pytest
from support.kvsh_cases import KVSH


@pytest.fixture
def shell(daemon):
    def run(line):
        line = line.replace("kvsh", f"{KVSH[0]} --url {daemon}")
        process = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=False)
        return process.returncode, process.stdout, process.stderr

    return run


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        ("kvsh <&-", 0, ""),
        ("kvsh ping >&-", 74, "kvsh: Bad file descriptor\n"),
        ("kvsh ping >/dev/full", 74, "kvsh: No space left on device\n"),
        ("echo ping | kvsh >/dev/full", 74, "kvsh: No space left on device\n"),
        ("kvsh nonsense 2>&-", 2, ""),
    ],
)
def test_a_closed_or_full_stream_is_told(shell, line, code, sentence):
    assert shell(line) == (code, "", sentence)


def test_a_name_with_nul_is_a_mistake_of_its_line(shell):
    code, data, said = shell("""printf 'SOURCE "\\\\x00"\\nping\\n' | kvsh""")
    assert (code, data) == (2, "PONG\n")
    assert "stdin:1: cannot read a file with a NUL byte in its name" in said
