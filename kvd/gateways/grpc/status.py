"""Errors of kvd as gRPC's: a status, a sentence, and trailing metadata that say what a status cannot.

Why each is what it is, where that is not plain (https://grpc.io/docs/guides/status-codes/):
* CONFLICT is ABORTED: a test-and-set that failed, read and try anew from there.
* TOO_LARGE is RESOURCE_EXHAUSTED, as gRPC itself says of a message that is too large: one status whichever of the two
  bounds was met first. It shares it with BUSY and FULL; `kvd-code` tells them apart.
* What may have been executed is UNKNOWN, never UNAVAILABLE, which client libraries repeat by themselves.
"""

import json
from typing import Any

from grpc import StatusCode

from kvd import errors
from kvd.errors import KvdError
from kvd.gateways.common.error_body import error_body_of
from kvd.gateways.common.upstream import NotKnown
from kvd.json_bytes import to_json
from kvd.limits import GRPC_DETAILS_BYTES_MAX, GRPC_MESSAGE_BYTES_MAX

STATUS: dict[type[KvdError], StatusCode] = {
    errors.BadRequest: StatusCode.INVALID_ARGUMENT,
    errors.UnknownCommand: StatusCode.UNIMPLEMENTED,
    errors.BadArgument: StatusCode.INVALID_ARGUMENT,
    errors.TooLarge: StatusCode.RESOURCE_EXHAUSTED,
    errors.WrongType: StatusCode.FAILED_PRECONDITION,
    errors.Conflict: StatusCode.ABORTED,
    errors.Compacted: StatusCode.OUT_OF_RANGE,
    errors.Denied: StatusCode.PERMISSION_DENIED,
    errors.Busy: StatusCode.RESOURCE_EXHAUSTED,
    errors.Full: StatusCode.RESOURCE_EXHAUSTED,
    errors.ReadOnly: StatusCode.UNAVAILABLE,
    errors.Corrupt: StatusCode.DATA_LOSS,
    errors.ShuttingDown: StatusCode.UNAVAILABLE,
    errors.Internal: StatusCode.INTERNAL,
    errors.Unreachable: StatusCode.UNAVAILABLE,
    errors.NotLetIn: StatusCode.UNAVAILABLE,
    errors.NoReply: StatusCode.UNAVAILABLE,  # a read: it may be repeated
    errors.OutcomeUnknown: StatusCode.UNKNOWN,
    errors.HistoryChanged: StatusCode.FAILED_PRECONDITION,
    NotKnown: StatusCode.UNAUTHENTICATED,
}


def status_of(error: KvdError) -> StatusCode:
    """Return the status; UNKNOWN for a code that only a newer daemon has."""
    return STATUS.get(type(error), StatusCode.UNKNOWN)


def sentence_of(error: KvdError) -> str:
    """Return the sentence, without the code."""
    return error_body_of(error).message.encode()[:GRPC_MESSAGE_BYTES_MAX].decode(errors="ignore")


def metadata_of(error: KvdError) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata."""
    fault = error_body_of(error)
    details = details_of(fault.details)
    said = (("kvd-code", fault.code), ("kvd-outcome", fault.outcome))
    return (*said, ("kvd-details", details)) if details else said


def details_of(details: dict[str, Any]) -> str:
    """Return details as JSON in ASCII, which headers are; what makes them too long for one is left out."""
    text, kept = "", dict[str, Any]()
    for name, value in to_json(details).items():
        longer = json.dumps({**kept, name: value})
        if len(longer) <= GRPC_DETAILS_BYTES_MAX:
            text, kept[name] = longer, value
    return text
