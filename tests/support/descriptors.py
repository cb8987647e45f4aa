"""The descriptors that a test leaves open, whatever earlier tests still close meanwhile."""

import contextlib
import gc
import os


class Descriptors:
    """Those that were opened since this was made, and are still open."""

    def __init__(self) -> None:
        self.before = descriptors()

    def opened(self) -> set[tuple[str, str]]:
        """Return number and target of each."""
        return descriptors() - self.before

    def are_closed(self) -> bool:
        """Return whether there is none."""
        return not self.opened()


def descriptors() -> set[tuple[str, str]]:
    """Return number and target of each descriptor of this process, once what is dropped is collected.

    The target of a socket or a pipe is its own, so one that took the number of another is told apart.
    """
    gc.collect()
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names alone
        with contextlib.suppress(FileNotFoundError):  # the listing's own, and what another thread closes
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))  # noqa: PTH115
    return found
