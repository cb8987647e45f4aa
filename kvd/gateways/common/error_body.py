"""The parts of a kvd error that every protocol reports: code, message, outcome, details. Pure."""

import re
from typing import Any, NamedTuple

from kvd.errors import NOT_EXECUTED, KvdError


class ErrorBody(NamedTuple):
    """An error's parts. `code` is the wire's; an error of the client library has its class name, in the same form."""

    code: str
    message: str
    outcome: str
    details: dict[str, Any]


def error_body_of(error: KvdError) -> ErrorBody:
    code = getattr(error, "code", None) or re.sub(r"(?<=.)(?=[A-Z])", "_", type(error).__name__).upper()
    outcome = getattr(error, "outcome", NOT_EXECUTED)
    return ErrorBody(code, str(getattr(error, "message", error)), outcome, getattr(error, "details", {}))
