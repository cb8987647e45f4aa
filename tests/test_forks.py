"""A forked program is what a started one is: code, streams, environment, signals."""

import signal
import subprocess
import sys

import pytest
from support.forks import ForkedPopen, run

TOLD = "import os, sys; print(sys.argv, os.getcwd(), os.environ['NAME'], sys.stdin.read()); print('m', file=sys.stderr)"


def test_it_has_its_arguments_directory_environment_and_streams(tmp_path):
    done = run([sys.executable, "-c", TOLD, "a b"], input=b"in", cwd=tmp_path, env={"NAME": "city"})
    assert done.stdout.decode() == f"['-c', 'a b'] {tmp_path} city in\n"
    assert done.stderr == b"m\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('why')", 1), ("1/0", 1), ("raise SystemExit(256)", 0)],
)
@pytest.mark.parametrize("start", [run, subprocess.run], ids=["forked", "started"])
def test_its_exit_code_and_messages(start, text, code):
    done = start([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == code
    assert (b"ZeroDivisionError" in done.stderr) == (text == "1/0")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("popen", [ForkedPopen, subprocess.Popen], ids=["forked", "started"])
def test_a_signal_ends_it(popen, number):
    waiting = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    with popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(60) == -number


def test_two_have_different_random_numbers():
    command = [sys.executable, "-c", "import random; print(random.random())"]
    assert run(command).stdout != run(command).stdout
