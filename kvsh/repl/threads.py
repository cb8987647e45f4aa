"""Calls that may hang - a pipe nobody reads, a script - in threads that nothing waits for when the shell ends."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")


async def in_thread(call: Callable[[], R]) -> R:
    """Run a call in a thread of its own; return its result, or raise what it raised.

    Not `asyncio.to_thread`: the loop would wait for that one at its end.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()

    def tell(how: Callable[[Any], None], what: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if future.done() else how(what))

    def run() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001  # raised to whoever waits
            tell(future.set_exception, error)
        else:
            tell(future.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await future
