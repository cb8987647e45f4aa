"""The errors of kvd, as classes with a code. This file imports nothing.

    KvdError
    ├── Refused              the daemon replied ERROR; one subclass for each code on the wire
    │   ├── BadRequest       BAD_REQUEST      the message is not a command
    │   ├── UnknownCommand   UNKNOWN_COMMAND  no command has this name
    │   ├── BadArgument      BAD_ARGUMENT     an argument is missing, extra, of the wrong type or out of range
    │   ├── TooLarge         TOO_LARGE        a limit of `kvd.limits` is exceeded
    │   ├── WrongType        WRONG_TYPE       the command does not work on the value
    │   ├── Conflict         CONFLICT         a condition does not hold
    │   ├── Compacted        COMPACTED        the requested changes are no longer in the journal
    │   ├── Denied           DENIED           the client may not do this
    │   ├── Busy             BUSY             a limit on work in progress is reached; retry
    │   ├── Full             FULL             the disk is full
    │   ├── ReadOnly         READ_ONLY        the daemon takes no writes
    │   ├── Corrupt          CORRUPT          data on the disk is damaged
    │   ├── ShuttingDown     SHUTTING_DOWN    the daemon is shutting down
    │   └── Internal         INTERNAL         a defect of kvd, or a commit that failed
    ├── ClientError          the client found the error; the daemon did not reply ERROR
    │   ├── Unreachable      nothing was sent: no daemon at the endpoint
    │   │   └── NotLetIn     nothing was sent: the endpoint refused our keys, or a connection without keys
    │   ├── NoReply          a read was sent and no reply came in time
    │   ├── OutcomeUnknown   a write was sent and no reply came: it may have run
    │   ├── HistoryChanged   the daemon serves another history than the one followed (a restored or different store)
    │   ├── LockNotAcquired  another client held the lock until the timeout
    │   └── LockLost         the lock was not renewed in time, or was deleted
    └── StartError           the daemon cannot start; `exit_code` as in sysexits.h
        ├── BadConfiguration  78
        ├── InUse             69  another daemon uses the directory or an endpoint
        ├── UnfitSQLite       78  the SQLite library would corrupt data
        ├── NewerDatabase     78  a newer kvd wrote the files
        └── StorageFailed     74  the files cannot be opened, read or written

`outcome` says whether the command ran: NOT_EXECUTED (it never started), FAILED (it ran and changed
nothing) or UNKNOWN (it may have taken effect).
"""

from typing import Any, ClassVar

NOT_EXECUTED = "not executed"
FAILED = "failed"
UNKNOWN = "unknown"


class KvdError(Exception):
    """The base of all errors that kvd raises on purpose."""


class Refused(KvdError):
    """The daemon's ERROR reply: a stable code, a sentence, and details as a map."""

    code: ClassVar[str] = "INTERNAL"
    outcome: ClassVar[str] = FAILED

    def __init__(self, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        """Return `CODE: sentence`."""
        return f"{self.code}: {self.message}"


class BadRequest(Refused):
    """The message is not a command."""

    code = "BAD_REQUEST"
    outcome = NOT_EXECUTED


class UnknownCommand(Refused):
    """No command has this name."""

    code = "UNKNOWN_COMMAND"
    outcome = NOT_EXECUTED


class BadArgument(Refused):
    """An argument is missing, extra, of the wrong type or out of range."""

    code = "BAD_ARGUMENT"
    outcome = NOT_EXECUTED


class TooLarge(Refused):
    """A limit of `kvd.limits` is exceeded."""

    code = "TOO_LARGE"
    outcome = NOT_EXECUTED


class WrongType(Refused):
    """The command does not work on the value."""

    code = "WRONG_TYPE"


class Conflict(Refused):
    """A condition does not hold; details: `revision`, the entry's revision (0: no such key)."""

    code = "CONFLICT"


class Compacted(Refused):
    """The requested changes are no longer in the journal; details: `compacted`, the last revision dropped."""

    code = "COMPACTED"


class Denied(Refused):
    """The client may not do this."""

    code = "DENIED"
    outcome = NOT_EXECUTED


class Busy(Refused):
    """A limit on work in progress is reached; retry."""

    code = "BUSY"
    outcome = NOT_EXECUTED


class Full(Refused):
    """The disk is full."""

    code = "FULL"


class ReadOnly(Refused):
    """The daemon takes no writes."""

    code = "READ_ONLY"
    outcome = NOT_EXECUTED


class Corrupt(Refused):
    """Data on the disk is damaged; details: `key` or `revision`."""

    code = "CORRUPT"


class ShuttingDown(Refused):
    """The daemon is shutting down."""

    code = "SHUTTING_DOWN"
    outcome = NOT_EXECUTED


class Internal(Refused):
    """A defect of kvd, or a commit that failed: the outcome of a write is unknown."""

    code = "INTERNAL"
    outcome = UNKNOWN


CODES: dict[str, type[Refused]] = {cls.code: cls for cls in Refused.__subclasses__()}


def refusal(code: str, message: str, details: dict[str, Any]) -> Refused:
    """Return the error of an ERROR reply; for an unknown code, a plain `Refused` with that code."""
    cls = CODES.get(code)
    if cls is not None:
        return cls(message, **details)
    error = Refused(message, **details)
    error.code = code  # type: ignore[misc]  # only this instance has the code of a newer daemon
    error.outcome = UNKNOWN  # type: ignore[misc]
    return error


class ClientError(KvdError):
    """The client found the error, most often because no reply came.

    `message` says what happened; `where`, the end of the sentence, names what was tried.
    """

    outcome: ClassVar[str] = FAILED

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message + where)
        self.message = message
        self.where = where


class Unreachable(ClientError):
    """Nothing was sent: there is no daemon at the endpoint."""

    outcome = NOT_EXECUTED


class NotLetIn(Unreachable):
    """Nothing was sent: the endpoint ended the handshake. Check the client's keys and the daemon's."""


class NoReply(ClientError):
    """A read was sent and no reply came in time."""


class OutcomeUnknown(ClientError):
    """A write was sent and no reply came: it may have run, or may still run."""

    outcome = UNKNOWN


class HistoryChanged(ClientError):
    """The daemon serves another history than the one followed: read all entries again."""


class LockNotAcquired(ClientError):
    """Another client held the lock until the timeout."""

    outcome = NOT_EXECUTED


class LockLost(ClientError):
    """The lock was lost, and another client may hold it. Stop the work that needs it."""


class StartError(KvdError):
    """The daemon cannot start; `exit_code` as in sysexits.h."""

    exit_code: ClassVar[int] = 70


class BadConfiguration(StartError):
    """An option is invalid."""

    exit_code = 78


class InUse(StartError):
    """Another daemon uses the directory or an endpoint."""

    exit_code = 69


class UnfitSQLite(StartError):
    """The SQLite library would corrupt data."""

    exit_code = 78


class NewerDatabase(StartError):
    """A newer kvd wrote the files."""

    exit_code = 78


class StorageFailed(StartError):
    """The files cannot be opened, read or written."""

    exit_code = 74
