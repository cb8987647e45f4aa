"""The life of a gateway's process: signals, systemd notifications, and a shutdown that completes pending requests."""

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
    """The interface of every gateway."""

    async def open(self) -> str:
        """Start to listen; return the addresses as text. Raises StartError."""

    async def serve(self) -> None:
        """Serve until closed. Returns earlier, or raises KvdError, only if the gateway cannot continue."""

    async def reload(self) -> None:
        """Reload the token file (SIGHUP). Raises BadConfiguration."""

    async def close(self) -> None:
        """Stop listening, complete pending requests, disconnect from the daemon."""


async def run_until_signal(gateway: Gateway, notifier: Notifier) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError, KvdError."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    reloading: set[asyncio.Task[None]] = set()

    def on_hangup() -> None:
        task = loop.create_task(reload(gateway, notifier))
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    try:
        address = await gateway.open()
        log.info("event=gateway_ready at=%s", address)
        notifier.notify("READY=1", f"STATUS=serving {address}")
        tasks = [loop.create_task(gateway.serve()), loop.create_task(ended.wait())]
        watchdog = loop.create_task(feed_watchdog(notifier))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        notifier.notify("STOPPING=1")
        watchdog.cancel()
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
    """Reload the gateway's files. An error is logged and reported to systemd; the previous state stays in force."""
    try:
        await gateway.reload()
    except BadConfiguration as error:
        for line in str(error).splitlines():
            log.error("event=bad_tokens %s", line)  # noqa: TRY400  # the sentence suffices, without a traceback
        notifier.notify(f"STATUS=serving with the previous tokens: the token file has an error: {error}")


async def feed_watchdog(notifier: Notifier) -> None:
    """Notify systemd's watchdog, which shows that the event loop runs."""
    while notifier.interval_ms:
        notifier.notify("WATCHDOG=1")
        await asyncio.sleep(notifier.interval_ms / 1000)


def run(make: Callable[[], Gateway], loop_factory: Callable[[], Any] | None = None) -> None:
    """Create a gateway within an event loop and serve. Raises StartError, KvdError."""
    notifier = Notifier()
    raise_descriptor_limit()
    separate_large_blocks()

    async def main() -> None:
        await run_until_signal(make(), notifier)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def separate_large_blocks() -> None:
    """Let malloc map large blocks outside the heap, so that their memory returns to the system when they are freed.

    By default glibc does so only until the first such block is freed; later ones come from the heap. There, values and
    replies alternate, and the holes between unread replies stay resident: up to 1.7 times the bytes in use.
    """
    set_option = getattr(
        ctypes.CDLL(None), "mallopt", None
    )  # musl has no mallopt, and maps large blocks outside the heap anyway
    if set_option is not None:
        set_option(MMAP_THRESHOLD, GATEWAY_BLOCK_BYTES)
        set_option(TRIM_THRESHOLD, GATEWAY_TRIM_BYTES)
