"""Ctrl-C: it clears the line, ends the command that runs and nothing else, and no late reply is ever shown."""

import asyncio
import os
import random
import signal
import socket
import time

import pytest
from support.kvsh_cases import PATIENCE_S
from support.terminal import long_command, say

from kvsh.repl.interrupts import hear_interrupts, with_sigint_blocked


def test_at_the_prompt_it_clears_the_line(shell):
    shell.type("set half a")
    shell.shows("data0> set half a")
    shell.type("\x03")
    shell.prompts()
    shell.type("\x03\x03")
    assert say(shell, "ping") == ['"PONG"']


def test_a_signal_from_elsewhere_leaves_the_line_alone(shell):
    """So no handler but ours is there: the loop's would leave moments without one."""
    shell.type("ping ab")
    shell.shows("> ping ab")
    for _ in range(50):
        os.kill(shell.pid, signal.SIGINT)
    shell.type("cd\r")
    shell.shows('"abcd"')


def test_during_a_command_it_returns_to_the_prompt_and_later_ones_do_not_wait(shell, kv):
    shell.runs(long_command(kv))
    shell.interrupts()
    kv.set("waited", "x")
    assert say(shell, "get waited") == ['"x"']


def test_a_late_reply_is_not_shown_for_a_later_command(shell, kv):
    kv.set("a", "late")
    pid = kv.info()["server"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        shell.runs("get a")
        shell.interrupts()
        shell.until(lambda lines: lines[-1].endswith(">"))
        shell.runs("ping mine")
    finally:
        os.kill(pid, signal.SIGCONT)
    shell.shows('"mine"')
    shell.prompts()
    assert not any('"late"' in line for line in shell.lines)


def test_what_was_not_sent_yet_never_is(terminal):
    """At a port where nobody speaks ZeroMQ nothing is sent; the connection that waits with the command is closed."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        shell = terminal("--timeout", "30", KVSH_URL=f"tcp://127.0.0.1:{port.getsockname()[1]}")
        shell.shows("not connected>")
        connections = [port.accept()[0] for _ in range(2)]  # one for commands, one for what is looked up
        shell.runs("set a 1")
        assert [is_closed(connection) for connection in connections] == [False, False]
        shell.type("\x03")
        shell.shows("(interrupted")
        limit = time.monotonic() + PATIENCE_S
        while sum(map(is_closed, connections)) < 1:
            assert time.monotonic() < limit
        assert sum(map(is_closed, connections)) == 1


def is_closed(connection):
    """Return whether the other side has closed a connection."""
    connection.settimeout(0.05)
    try:
        return not connection.recv(4096)
    except TimeoutError:
        return False


def test_source_is_cut_off(shell, kv, tmp_path):
    path = tmp_path / "s.kv"
    path.write_text("set n 0\n" + f"{long_command(kv, 500)}\nincr n\n" * 1000)
    shell.type(f"source {path}\r")
    shell.shows("(integer) 1")
    shell.type("\x03")
    shell.shows("interrupted after")
    shell.prompts()
    time.sleep(0.7)
    before = kv.get("n")
    time.sleep(0.7)
    assert say(shell, "ping") == ['"PONG"']  # and nothing of the script's before
    assert kv.get("n") == before


def test_in_a_program_it_is_the_programs(shell, kv):
    kv.set("k", "v")
    shell.runs("get k | sleep 60")
    shell.type("\x03")
    assert say(shell, "ping") == ['"PONG"']
    assert not any("(interrupted" in line for line in shell.lines)


def test_a_program_that_spoils_the_terminal_does_not_take_it_away(shell, kv):
    say(shell, "ping | stty -isig < /dev/tty")
    shell.runs(long_command(kv))
    shell.type("\x03")
    shell.shows("(interrupted")


def test_it_ends_a_pasted_block(shell, kv):
    shell.type(f"\x1b[200~{long_command(kv)}\nset a 1\x1b[201~\r")
    shell.shows("1/2> changes")
    shell.settle()
    shell.type("\x03")
    shell.shows("(error) stopped at line 1 of 2: 1 command after it did not run")
    shell.prompts()
    assert kv.get("a") is None


def test_the_shell_outlives_very_many(shell, kv):
    kv.set("k", "v")
    chance = random.Random(7)
    typed = ["set half", f"{long_command(kv)}\r", "ping\r", "get k | cat\r", "get k | sleep 1\r", "watch\r"]
    for _ in range(50):
        shell.type(chance.choice(typed))
        shell.read(chance.choice([0, 0.001, 0.02]))
        for _ in range(chance.choice([1, 2, 5])):
            shell.type("\x03")
            shell.read(chance.choice([0, 0.001, 0.01]))
    for _ in range(50):  # what was typed ahead runs, one after the other
        shell.type("\x03")
        shell.settle()
        if shell.lines[-2:] == ["data0>", "data0>"]:
            break
    assert say(shell, "ping alive") == ['"alive"']


def test_while_sockets_are_made_no_signal_interrupts():
    def signal_mask():
        return signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def fail():
        raise ValueError("made is not this")

    assert signal.SIGINT in with_sigint_blocked(signal_mask)
    assert signal.SIGINT not in signal_mask()
    with pytest.raises(ValueError, match="made is not this"):
        with_sigint_blocked(fail)
    assert signal.SIGINT not in signal_mask()


def test_the_handler_cancels_what_runs_and_nothing_else():
    async def main():
        running = []
        hear_interrupts(lambda: running[0] if running else None)
        os.kill(os.getpid(), signal.SIGINT)
        running.append(asyncio.create_task(asyncio.sleep(60)))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(asyncio.CancelledError):
            await running[0]

    before = signal.getsignal(signal.SIGINT)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGINT, before)
