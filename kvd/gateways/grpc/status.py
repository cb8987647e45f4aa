"""Maps errors of kvd to gRPC: a status, a message, and trailing metadata with the details.

Reasons for the mappings that are not obvious (https://grpc.io/docs/guides/status-codes/):
* CONFLICT is ABORTED, the status for a failed test-and-set: the client reads again and retries from there.
* TOO_LARGE is RESOURCE_EXHAUSTED, which gRPC itself uses for a message that is too large: the status is the same
  whichever of the two limits is reached first. BUSY and FULL have this status too; `kvd-code` distinguishes them.
* A command that may have been executed is UNKNOWN, never UNAVAILABLE, which client libraries retry automatically.
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
    errors.NoReply: StatusCode.UNAVAILABLE,  # reads only: they can be retried
    errors.OutcomeUnknown: StatusCode.UNKNOWN,
    errors.HistoryChanged: StatusCode.FAILED_PRECONDITION,
    NotKnown: StatusCode.UNAUTHENTICATED,
}


def status_of(error: KvdError) -> StatusCode:
    """Return the status; UNKNOWN for a code of a newer daemon."""
    return STATUS.get(type(error), StatusCode.UNKNOWN)


def sentence_of(error: KvdError) -> str:
    """Return the error's message without its code, cut to GRPC_MESSAGE_BYTES_MAX."""
    return error_body_of(error).message.encode()[:GRPC_MESSAGE_BYTES_MAX].decode(errors="ignore")


def metadata_of(error: KvdError) -> tuple[tuple[str, str], ...]:
    body = error_body_of(error)
    details = details_of(body.details)
    metadata = (("kvd-code", body.code), ("kvd-outcome", body.outcome))
    return (*metadata, ("kvd-details", details)) if details else metadata


def details_of(details: dict[str, Any]) -> str:
    """Return details as ASCII JSON, for a header; members that would make it too long are left out."""
    text, kept = "", dict[str, Any]()
    for name, value in to_json(details).items():
        longer = json.dumps({**kept, name: value})
        if len(longer) <= GRPC_DETAILS_BYTES_MAX:
            text, kept[name] = longer, value
    return text
