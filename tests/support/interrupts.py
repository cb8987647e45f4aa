"""Interrupts: an exception raised at a chosen bytecode of the client, as a signal handler's would be."""

import functools
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import kvd.client

CLIENT = str(Path(kvd.client.__file__).parent)
TOOL = 4  # the tools of sys.monitoring have numbers; 0 to 2 are reserved


class Interrupt(BaseException):
    """The exception that a handler raises."""


class Countdown:
    """Raises an error at the n-th bytecode, counted from 1, that kvd/client executes in this thread."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.left = at
        self.error = error

    def step(self, code: CodeType, line: int) -> None:
        """Count a bytecode."""
        self.left -= 1
        if self.left == 0:
            self.where = f"{Path(code.co_filename).name}:{line} {code.co_name}"
            raise_from_deeper(self.error)


def raise_from_deeper(error: BaseException) -> None:
    raise error


@contextmanager
def traced(countdown: Countdown) -> Iterator[None]:
    """Count bytecodes by a trace function, for Python 3.11."""

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(CLIENT):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            countdown.step(frame.f_code, frame.f_lineno)
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(previous)


@contextmanager
def monitored(countdown: Countdown) -> Iterator[None]:
    """Count bytecodes by `sys.monitoring`: since Python 3.12 a trace function misses those of a first call."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    ours = threading.get_ident()

    def count_one(code: CodeType, _: int) -> None:
        if threading.get_ident() == ours:
            countdown.step(code, sys._getframe(1).f_lineno)  # the frame of the client

    monitoring.use_tool_id(TOOL, "kvd-tests")
    monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, count_one)
    for code in client_code():
        monitoring.set_local_events(TOOL, code, monitoring.events.INSTRUCTION)
    try:
        yield
    finally:
        for code in client_code():
            monitoring.set_local_events(TOOL, code, 0)
        monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(TOOL)


@functools.cache
def client_code() -> tuple[CodeType, ...]:
    """Return the code of all functions of kvd/client, and of what is defined within them."""
    found: list[CodeType] = []
    left: list[object] = [each.__code__ for each in gc.get_objects() if isinstance(each, FunctionType)]
    while left:
        code = left.pop()
        if isinstance(code, CodeType) and code.co_filename.startswith(CLIENT):
            found.append(code)
            left += code.co_consts
    return tuple(set(found))


def count_down(countdown: Countdown) -> AbstractContextManager[None]:
    return monitored(countdown) if sys.version_info >= (3, 12) else traced(countdown)


def interrupt(call: Callable[[], object], at: int, error: BaseException | None = None) -> str | None:
    """Call something and interrupt it at its n-th bytecode; return where that was, None if it was over before."""
    countdown = Countdown(at, error or Interrupt())
    try:
        with count_down(countdown):
            call()
    except BaseException as caught:
        if caught is not countdown.error and caught.__context__ is not countdown.error:
            raise
    return countdown.where if countdown.left <= 0 else None


def places(step: int, first: int = 1) -> Iterator[int]:
    """Return which bytecodes to interrupt."""
    return count(first, step)
