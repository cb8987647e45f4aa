"""Waiting until descriptors are ready: by poll(2), or by select where there is no poll (Windows)."""

import select
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import NamedTuple

_HAS_POLL = hasattr(select, "poll")


class Interest(NamedTuple):
    """A descriptor that is to become readable, or writable too."""

    fd: int
    is_write_wanted: bool = False


def wait_until_ready(interests: Sequence[Interest], wait_s: float | None) -> set[int]:
    """Wait, at most so many seconds (None: for ever), until a descriptor is ready; return those that are."""
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
    """Wait until a descriptor can be read or written; return which. An error counts as readable."""
    if not _HAS_POLL:
        readable, writable, _ = select.select([fd], [fd], [], max(0.0, wait_s))
        return bool(readable), bool(writable)
    poller = select.poll()
    poller.register(fd, select.POLLIN | select.POLLOUT)
    events = sum(event for _, event in poller.poll(max(0.0, wait_s * 1000)))
    return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)


def input_check(fd: int) -> Callable[[], object]:
    """Return what tells whether a descriptor can be read, or has an error, now. It costs 0.5 us a call."""
    if not _HAS_POLL:
        return lambda: select.select([fd], [], [], 0)[0]
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return partial(poller.poll, 0)
