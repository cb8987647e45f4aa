"""The descriptors that a test leaves open, whatever earlier tests still close meanwhile."""

import contextlib
import gc
import os
import resource


class Descriptors:
    """The descriptors that were opened since this was made, and are still open."""

    def __init__(self) -> None:
        self.before = descriptors()

    def list_new(self) -> set[tuple[str, str]]:
        """Return number and target of each."""
        return descriptors() - self.before

    def are_closed(self) -> bool:
        """Return whether there is none."""
        return not self.list_new()


def descriptors() -> set[tuple[str, str]]:
    """Return number and target of each descriptor of this process, once what is dropped is collected.

    The target of a socket or a pipe is its own, so one that took the number of another is distinguished.
    """
    gc.collect()
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names alone
        with contextlib.suppress(FileNotFoundError):  # the listing's own, and what another thread closes
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))  # noqa: PTH115
    return found


@contextlib.contextmanager
def few_descriptors():
    """Leave no descriptor to open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, limits[1]))
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for each in taken:
            os.close(each)
