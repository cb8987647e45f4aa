"""From start to end of a gateway's process: signals, what systemd is told, and an end that drops nobody."""

import asyncio
import contextlib
import ctypes
import logging
import signal
from collections.abc import Callable
from typing import Any, Protocol

from kvd.errors import BadConfiguration
from kvd.limits import GATEWAY_BLOCK_BYTES, GATEWAY_TRIM_BYTES
from kvd.systemd import Notifier, raise_descriptor_limit

log = logging.getLogger(__name__)

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt(3), malloc.h


class Gateway(Protocol):
    """What each gateway is."""

    async def open(self) -> str:
        """Begin to listen; return where. Raises StartError."""

    async def serve(self) -> None:
        """Serve until closed. It returns, or raises KvdError, only when there is no going on."""

    async def reload(self) -> None:
        """Read again what may change (SIGHUP). Raises BadConfiguration."""

    async def close(self) -> None:
        """Listen no more, finish what is under way, let the daemon go."""


async def run_until_signal(gateway: Gateway, notifier: Notifier) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError, KvdError."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    reloading: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        """Read again, beside all else."""
        task = loop.create_task(reload(gateway, notifier))
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        place = await gateway.open()
        log.info("event=gateway_ready at=%s", place)
        notifier.notify("READY=1", f"STATUS=serving {place}")
        tasks = [loop.create_task(gateway.serve()), loop.create_task(ended.wait())]
        signs = loop.create_task(feed_watchdog(notifier))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        notifier.notify("STOPPING=1")
        signs.cancel()
        for task in done:
            task.result()
    finally:
        await gateway.close()
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    log.info("event=gateway_stopped")


async def reload(gateway: Gateway, notifier: Notifier) -> None:
    """Let it read again; what is wrong is told, and nothing changes."""
    try:
        await gateway.reload()
    except BadConfiguration as error:
        for line in str(error).splitlines():
            log.error("event=bad_tokens %s", line)  # noqa: TRY400  # its sentence is for who wrote the file
        notifier.notify(f"STATUS=as before, for the tokens could not be read: {error}")


async def feed_watchdog(notifier: Notifier) -> None:
    """Show the watchdog that the loop turns."""
    while notifier.interval_ms:
        notifier.notify("WATCHDOG=1")
        await asyncio.sleep(notifier.interval_ms / 1000)


def run(make: Callable[[], Gateway], loop_factory: Callable[[], Any] | None = None) -> None:
    """Make a gateway within a loop, and serve. Raises StartError, KvdError."""
    notifier = Notifier()
    raise_descriptor_limit()
    separate_large_blocks()

    async def main() -> None:
        await run_until_signal(make(), notifier)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def separate_large_blocks() -> None:
    """Let the C library map large blocks apart from the heap, so that their memory goes back as soon as they are freed.

    glibc does so only until the first one is freed; after that they come from the heap. A value and the reply made of
    it are allocated in turn there, and the holes between replies that clients have not taken stay resident: up to 1.7
    times the bytes that are in use.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and maps them apart anyway
    if set_option is not None:
        set_option(MMAP_THRESHOLD, GATEWAY_BLOCK_BYTES)
        set_option(TRIM_THRESHOLD, GATEWAY_TRIM_BYTES)
