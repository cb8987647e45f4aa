"""Ctrl-C at any moment of a start: no word, and 130."""

import os
import pty
import signal
import subprocess
import sys

import pytest
from support.programs import without_coverage

# Runs kvsh and sends it SIGINT when a module is first looked for, as a person does who hits Ctrl-C at that moment.
PROGRAM = """
import os, signal, sys
from kvsh.__main__ import main

module = sys.argv.pop(1)

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
sys.exit(main())
"""


def interrupt_at(module, environment, *arguments, **how):
    """Return how kvsh ended: code, output and messages."""
    command = [sys.executable, "-c", PROGRAM, module, *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False, **how
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("module", ["kvsh.cli.app", "click", "kvd.commands", "kvsh.grammar.walk", "kvsh.cli.oneshot"])
def test_ctrl_c_while_modules_are_loaded_is_quiet(kv, environment, module):
    assert interrupt_at(module, environment, "set", "k", "v")[::2] == (130, b"")


@without_coverage
def test_so_it_is_while_the_configuration_is_read(kv, environment, configure):
    configure("timeout = 5\n")
    assert interrupt_at("tomllib", environment, "ping") == (130, b"", b"")


@pytest.mark.parametrize("module", ["kvsh.cli.script", "kvsh.script.engine"])
def test_so_it_is_for_a_script(kv, environment, module):
    assert interrupt_at(module, environment) == (130, b"", b"")


@pytest.mark.parametrize("module", ["kvsh.modes.stat", "kvsh.modes.report"])
def test_so_it_is_for_a_mode(kv, environment, module):
    assert interrupt_at(module, environment, "--stat", "-r", "1") == (130, b"", b"")


@pytest.mark.parametrize("module", ["kvsh.repl.prompt", "prompt_toolkit", "asyncio", "kvsh.repl.watcher"])
def test_so_it_is_for_the_prompt(kv, environment, module):
    master, terminal = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, module]
    with subprocess.Popen(
        command, env={**environment, "TERM": "xterm"}, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE
    ) as child:
        os.close(terminal)
        assert child.communicate(timeout=60)[1] == b""
    os.close(master)
    assert child.returncode == 130


def test_at_its_end_too(kv, environment):
    program = "import atexit, os, signal, sys; atexit.register(os.kill, os.getpid(), signal.SIGINT)\n" + PROGRAM
    command = [sys.executable, "-c", program, "none", "ping"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_who_ignores_it_is_not_ended(kv, environment):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    found = interrupt_at("kvsh.cli.oneshot", environment, "ping", preexec_fn=ignore)
    assert found == (0, b"PONG\n", b"")
