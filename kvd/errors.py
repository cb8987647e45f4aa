"""What can go wrong, as classes with a code. This file imports nothing.

    KvdError
    ├── Refused              the daemon answered ERROR; one subclass for each code of the wire
    │   ├── BadRequest       BAD_REQUEST      the message is not a command
    │   ├── UnknownCommand   UNKNOWN_COMMAND  no command has this name
    │   ├── BadArgument      BAD_ARGUMENT     an argument is missing, extra, of the wrong type or out of range
    │   ├── TooLarge         TOO_LARGE        something is beyond a limit of `kvd.limits`
    │   ├── WrongType        WRONG_TYPE       the value is not what the command works on
    │   ├── Conflict         CONFLICT         a condition does not hold
    │   ├── Compacted        COMPACTED        the changes asked for are no longer in the journal
    │   ├── Denied           DENIED           this client may not do that
    │   ├── Busy             BUSY             a bound on work in progress is reached; try again
    │   ├── Full             FULL             no room on the disk
    │   ├── ReadOnly         READ_ONLY        the daemon takes no writes
    │   ├── Corrupt          CORRUPT          what the disk gave back is not what was written
    │   ├── ShuttingDown     SHUTTING_DOWN    the daemon is about to end
    │   └── Internal         INTERNAL         a defect of kvd, or a commit that failed
    ├── ClientError          the client noticed it; the daemon did not answer ERROR
    │   ├── Unreachable      nothing was sent: no daemon there
    │   │   └── NotLetIn     nothing was sent: something is there, but our keys, or that we have none, do not fit
    │   ├── NoReply          a read was sent and no reply came in time
    │   ├── OutcomeUnknown   a write was sent and no reply came: it may have been executed
    │   ├── HistoryChanged   the daemon serves another history than the one followed (restored, or another store)
    │   ├── LockNotAcquired  somebody else held the lock for as long as we would wait
    │   └── LockLost         the lock is not ours any more: it was not renewed in time, or was cleared
    └── StartError           the daemon cannot start; `exit_code` as in sysexits.h
        ├── BadConfiguration  78
        ├── InUse             69  the directory or an endpoint is another daemon's
        ├── UnfitSQLite       78  the SQLite library would corrupt data
        ├── NewerDatabase     78  the files were written by a newer kvd
        └── StorageFailed     74  the files cannot be opened, read or written

`outcome` says whether the command ran: NOT_EXECUTED (it never started), FAILED (it ran and changed
nothing) or UNKNOWN (it may have taken effect).
"""

from typing import Any, ClassVar

NOT_EXECUTED = "not executed"
FAILED = "failed"
UNKNOWN = "unknown"


class KvdError(Exception):
    """Whatever kvd raises on purpose."""


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
    """Something is beyond a limit of `kvd.limits`."""

    code = "TOO_LARGE"
    outcome = NOT_EXECUTED


class WrongType(Refused):
    """The value is not what the command works on."""

    code = "WRONG_TYPE"


class Conflict(Refused):
    """A condition does not hold; details: `revision`, the entry's (0: no such key)."""

    code = "CONFLICT"


class Compacted(Refused):
    """The changes asked for are no longer in the journal; details: `compacted`, the last revision gone."""

    code = "COMPACTED"


class Denied(Refused):
    """The client may not do that."""

    code = "DENIED"
    outcome = NOT_EXECUTED


class Busy(Refused):
    """A bound on work in progress is reached; try again."""

    code = "BUSY"
    outcome = NOT_EXECUTED


class Full(Refused):
    """There is no room on the disk."""

    code = "FULL"


class ReadOnly(Refused):
    """The daemon takes no writes."""

    code = "READ_ONLY"
    outcome = NOT_EXECUTED


class Corrupt(Refused):
    """What the disk gave back is not what was written; details: `key` or `revision`."""

    code = "CORRUPT"


class ShuttingDown(Refused):
    """The daemon is about to end."""

    code = "SHUTTING_DOWN"
    outcome = NOT_EXECUTED


class Internal(Refused):
    """A defect of kvd, or a commit that failed: the outcome of a write is unknown."""

    code = "INTERNAL"
    outcome = UNKNOWN


CODES: dict[str, type[Refused]] = {cls.code: cls for cls in Refused.__subclasses__()}


def refusal(code: str, message: str, details: dict[str, Any]) -> Refused:
    """Return the error of an ERROR reply; a code this version does not know becomes a plain `Refused`."""
    cls = CODES.get(code)
    if cls is not None:
        return cls(message, **details)
    error = Refused(message, **details)
    error.code = code  # type: ignore[misc]  # one instance of a newer daemon's code
    error.outcome = UNKNOWN  # type: ignore[misc]
    return error


class ClientError(KvdError):
    """The client noticed it, most often because no answer came.

    `message` says what that means; `where`, which ends the sentence, what was tried.
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
    """Nothing was sent: what is at the endpoint ends the handshake. Look at the keys, ours and the daemon's."""


class NoReply(ClientError):
    """A read was sent and no reply came in time."""


class OutcomeUnknown(ClientError):
    """A write was sent and no reply came: it may have been executed, or may be yet."""

    outcome = UNKNOWN


class HistoryChanged(ClientError):
    """The daemon serves another history than the one followed: read everything anew."""


class LockNotAcquired(ClientError):
    """Somebody else held the lock for as long as we would wait."""

    outcome = NOT_EXECUTED


class LockLost(ClientError):
    """The lock is not ours any more: somebody else may hold it. Stop what needs it."""


class StartError(KvdError):
    """The daemon cannot start; `exit_code` as in sysexits.h."""

    exit_code: ClassVar[int] = 70


class BadConfiguration(StartError):
    """An option cannot be used as it is."""

    exit_code = 78


class InUse(StartError):
    """The directory or an endpoint is another daemon's."""

    exit_code = 69


class UnfitSQLite(StartError):
    """The SQLite library would corrupt data."""

    exit_code = 78


class NewerDatabase(StartError):
    """The files were written by a newer kvd."""

    exit_code = 78


class StorageFailed(StartError):
    """The files cannot be opened, read or written."""

    exit_code = 74
