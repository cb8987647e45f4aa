"""Handles SIGINT, SIGTERM and SIGHUP where they do no harm: a message to the daemon is never left half sent."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asks the process to end; `number` is which. An urgent one came anywhere: nothing may be awaited."""

    def __init__(self, number: int, *, is_urgent: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.is_urgent = is_urgent


class Signals:
    """While it is entered, a signal is recorded, and raises Interrupted only where it may.

    With `second_is_urgent`, a second signal raises it anywhere.
    """

    def __init__(self, *, second_is_urgent: bool = False) -> None:
        self.second_is_urgent = second_is_urgent
        self.number = 0  # of the first signal
        self.is_interruptible = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Handle the signals, except those that our parent has set to be ignored (nohup)."""
        for number in NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the former handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        is_urgent = self.second_is_urgent and self.number != 0
        self.number = self.number or number
        if is_urgent or self.is_interruptible:
            raise Interrupted(self.number, is_urgent=is_urgent)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.number:
            raise Interrupted(self.number)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal raise Interrupted at once, including one that has come already."""
        self.is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self.is_interruptible = False
