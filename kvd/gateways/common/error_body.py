"""What an error of kvd says, whichever protocol tells it: a code, a sentence, an outcome, details. Pure."""

import re
from typing import Any, NamedTuple

from kvd.errors import NOT_EXECUTED, KvdError


class ErrorBody(NamedTuple):
    """What is told of an error. `code` is the wire's, or the name of one that is no daemon's, written as those are."""

    code: str
    message: str
    outcome: str
    details: dict[str, Any]


def error_body_of(error: KvdError) -> ErrorBody:
    """Return what is told of an error."""
    code = getattr(error, "code", None) or re.sub(r"(?<=.)(?=[A-Z])", "_", type(error).__name__).upper()
    outcome = getattr(error, "outcome", NOT_EXECUTED)
    return ErrorBody(code, str(getattr(error, "message", error)), outcome, getattr(error, "details", {}))
