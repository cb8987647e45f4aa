"""Ctrl-C while a command runs. While the prompt is shown it is a key, and no signal comes."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


def ignore_signals() -> None:
    """Let no signal end the shell that a person or a program that is gone may send."""
    # Before asyncio.run, which would take over the default handler: a Ctrl-C before the first prompt would end us.
    # Not SIG_IGN, which the programs that we start would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    # A program that is poured to may end early. (Python gives those that it starts the default back.)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def hear_interrupts(running: Callable[[], "asyncio.Task[Any] | None"]) -> None:
    """Let Ctrl-C cancel the task that runs, if there is one.

    One handler for the whole run: prompt-toolkit's, and so the loop's, leave moments in which none is there and Ctrl-C
    ends the shell. That is why prompts are read with `handle_sigint=False`.
    """
    loop = asyncio.get_running_loop()

    def interrupted(*_: object) -> None:
        task = running()
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, interrupted)


def with_sigint_blocked(make: Callable[[], R]) -> R:
    """Make what has sockets while no Ctrl-C comes: of the calls for that, pyzmq retries all but one after a signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return make()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
