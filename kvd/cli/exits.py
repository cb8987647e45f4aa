"""How kvd's subcommands fail: exit codes as in sysexits.h, and messages on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from kvd.errors import (
    Busy,
    ClientError,
    Corrupt,
    Denied,
    Full,
    KvdError,
    NotLetIn,
    ReadOnly,
    ShuttingDown,
    StartError,
    TooLarge,
    Unreachable,
)

USAGE = 64
DATA_ERROR = 65
NO_INPUT = 66
UNAVAILABLE = 69
SOFTWARE = 70
CANNOT_CREATE = 73
IO_ERROR = 74
TRY_AGAIN = 75
NO_PERMISSION = 77
SIGNALLED = 128  # plus the number of the signal

EXIT_CODES: tuple[tuple[type[KvdError], int], ...] = (
    (Denied, NO_PERMISSION),
    (NotLetIn, NO_PERMISSION),
    (Unreachable, UNAVAILABLE),
    (ClientError, TRY_AGAIN),
    (Busy, TRY_AGAIN),
    (ShuttingDown, TRY_AGAIN),
    (Full, IO_ERROR),
    (ReadOnly, IO_ERROR),
    (Corrupt, IO_ERROR),
    (TooLarge, USAGE),  # a prefix: the entries of an import are measured before they are sent
    (KvdError, SOFTWARE),
)


def exit_code(error: KvdError) -> int:
    """Return the exit code of an error."""
    if isinstance(error, StartError):
        return error.exit_code
    return next(code for cls, code in EXIT_CODES if isinstance(error, cls))


def report(text: str) -> None:
    """Write a line to standard error, without characters that act on a terminal."""
    click.echo("".join([letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text]), err=True)


def report_lines(message: str) -> None:
    """Report a message, line by line."""
    for line in message.splitlines():
        report(f"kvd: {line}")


def fail(code: int, message: str) -> NoReturn:
    """Report a message, and exit."""
    report_lines(message)
    sys.exit(code)


@contextmanager
def report_errors() -> Iterator[None]:
    """Exit with the message and the exit code of an error."""
    try:
        yield
    except KvdError as error:
        fail(exit_code(error), str(error))
