"""Ctrl-C while a command runs. While the prompt is shown it is an ordinary key, without a signal."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


def ignore_signals() -> None:
    """Ignore SIGINT and SIGPIPE, which would end the shell."""
    # Before asyncio.run, which replaces a default handler: Ctrl-C before the first prompt would end the shell.
    # Not SIG_IGN, which child processes would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    # A program that reads a result may exit early. (Python restores the default in its child processes.)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def hear_interrupts(running: Callable[[], "asyncio.Task[Any] | None"]) -> None:
    """Let Ctrl-C cancel the running task, if any.

    One handler for the whole run: prompt-toolkit and the loop install and remove theirs, and in between Ctrl-C would
    end the shell. For the same reason prompts are read with `handle_sigint=False`.
    """
    loop = asyncio.get_running_loop()

    def on_interrupt(*_: object) -> None:
        task = running()
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, on_interrupt)


def with_sigint_blocked(make: Callable[[], R]) -> R:
    """Create an object with sockets while SIGINT is blocked: a signal during creation may make it fail."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return make()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
