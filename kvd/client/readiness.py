"""Waits until descriptors are ready, with poll(2), or with select where there is no poll (Windows)."""

import select
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import NamedTuple

_HAS_POLL = hasattr(select, "poll")


class Interest(NamedTuple):
    """A descriptor to wait for: to be readable, or writable as well."""

    fd: int
    is_write_wanted: bool = False


def wait_until_ready(interests: Sequence[Interest], wait_s: float | None) -> set[int]:
    """Wait until a descriptor is ready, at most `wait_s` seconds (None: for ever); return the ready ones."""
    if not _HAS_POLL:
        read = [each.fd for each in interests]
        write = [each.fd for each in interests if each.is_write_wanted]
        readable, writable, _ = select.select(read, write, [], wait_s)
        return {*readable, *writable}
    poller = select.poll()
    for each in interests:
        poller.register(each.fd, select.POLLIN | select.POLLOUT if each.is_write_wanted else select.POLLIN)
    return {fd for fd, _ in poller.poll(None if wait_s is None else ceil(max(0.0, wait_s) * 1000))}


def wait_for_both(fd: int, wait_s: float) -> tuple[bool, bool]:
    """Wait until a descriptor is readable or writable; return both. An error counts as readable."""
    if not _HAS_POLL:
        readable, writable, _ = select.select([fd], [fd], [], max(0.0, wait_s))
        return bool(readable), bool(writable)
    poller = select.poll()
    poller.register(fd, select.POLLIN | select.POLLOUT)
    events = sum(event for _, event in poller.poll(max(0.0, wait_s * 1000)))
    return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)


def input_check(fd: int) -> Callable[[], object]:
    """Return a function that returns whether a descriptor is readable, or failed, now. A call takes 0.5 us."""
    if not _HAS_POLL:
        return lambda: select.select([fd], [], [], 0)[0]
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return partial(poller.poll, 0)
