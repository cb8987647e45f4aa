"""Calls that may block - a pipe without a reader, a script - in threads that do not delay the exit of the shell."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")


async def in_thread(call: Callable[[], R]) -> R:
    """Run a call in its own thread; return its result, or raise its exception.

    Not `asyncio.to_thread`: at exit, asyncio would wait for its thread.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()

    def deliver(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if future.done() else set_outcome(outcome))

    def run() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001  # raised in the waiting task
            deliver(future.set_exception, error)
        else:
            deliver(future.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await future
