"""Interrupts: an exception raised at a chosen bytecode of the client, as a signal handler's would be."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import kvd.client

CLIENT = str(Path(kvd.client.__file__).parent)


class Interrupt(BaseException):
    """What a handler raises."""


class Tracer:
    """Raises an error at the n-th bytecode, counted from 1, that kvd/client executes in this thread."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.left = at
        self.error = error

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        """Trace the functions of kvd/client."""
        if not frame.f_code.co_filename.startswith(CLIENT):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.trace

    def trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        """Count a bytecode."""
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise_from_deeper(self.error)
        return self.trace


def raise_from_deeper(error: BaseException) -> None:
    raise error


def interrupt(call: Callable[[], object], at: int, error: BaseException | None = None) -> str | None:
    """Call something and interrupt it at its n-th bytecode; return where that was, None if it was over before."""
    tracer = Tracer(at, error or Interrupt())
    previous = sys.gettrace()
    sys.settrace(tracer)
    try:
        call()
    except BaseException as caught:
        if caught is not tracer.error and caught.__context__ is not tracer.error:
            raise
    finally:
        sys.settrace(previous)
    return tracer.where if tracer.left <= 0 else None


def places(step: int, first: int = 1) -> Iterator[int]:
    """Return which bytecodes to interrupt."""
    return count(first, step)


def descriptors() -> int:
    """Return how many descriptors this process has, once what is dropped is collected."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # only their number
