"""Exit codes (a documented contract) and the sentences for failures.

The only I/O: when no daemon answers, the working directory is checked for a data directory.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from kvd import wire
from kvd.client import DEFAULT_ENDPOINT
from kvd.commands.base import Error
from kvd.errors import ClientError, Conflict, HistoryChanged, KvdError, NotLetIn, Refused, Unreachable
from kvsh.grammar.vocabulary import Mistake
from kvsh.render.data import json_error
from kvsh.words import display_form

OK, NOT_FOUND, USAGE, UNREACHABLE, REFUSED, CONFLICT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
BROKEN_IO = 74
LOCAL = ".data"  # the data directory of `make run`
# The advice by the client's reason.
REMEDIES = {
    "the name is not found": "check the spelling of the host in --url",
    "it ends the handshake": "commands go to the endpoint of --listen: check the port in --url",
    "does not speak ZeroMQ": "another program listens on that port: check --url",
    "timed out": "check the address in --url, and whether a firewall blocks it",
    "unreachable": "check the address in --url, and the network",
    "No route to host": "check the address in --url, and the network",
    "Permission denied": "check the permissions of the socket",
}

Failure = Mistake | KvdError


def exit_code(failure: Failure) -> int:
    if isinstance(failure, Conflict):
        return CONFLICT
    if isinstance(failure, Refused | HistoryChanged):
        return REFUSED
    return USAGE if isinstance(failure, Mistake) else UNREACHABLE


def failure_of(error: Error) -> Refused:
    """Return the exception for an ERROR reply."""
    try:
        wire.raise_error(error)
    except Refused as refusal:
        return refusal
    raise AssertionError(error)  # pragma: no cover


def as_typed(error: Error, sent: str, typed: str) -> Error:
    """Return an ERROR reply that names the command that was typed instead of the one that was sent."""
    return Error(error.code, rename_command(error.message, sent, typed), error.details)


def rename_command(message: str, sent: str, typed: str) -> str:
    """Return a message with one command's name replaced. Quoted keys stay as they are."""
    return re.sub(rf"(^|, and | may not ){sent}(?=[: ])", rf"\1{typed}", message, count=1)


@contextmanager
def typed_as(typed: str, sent: str) -> Iterator[None]:
    """Let errors raised within the context name the command that was typed."""
    try:
        yield
    except (Refused, ClientError) as failure:
        where = failure.where if isinstance(failure, ClientError) else ""
        failure.message = rename_command(failure.message, sent, typed)
        failure.args = (failure.message + where,)
        raise


def sentence(failure: Failure, endpoint: str) -> str:
    """Return the sentence for a failure: one line, with nothing in it that acts on a terminal."""
    text = display_form(str(failure).encode(errors="replace")).replace("\n", " ")
    if isinstance(failure, NotLetIn) and "key" in text:
        return f"{text}: see --key and --server-key ({endpoint})"
    if isinstance(failure, Unreachable) and not isinstance(failure, NotLetIn):
        where = failure.where or f" at {endpoint}"
        return f"{text.removesuffix(where)}{where}: {_remedy(endpoint, where)}"
    if isinstance(failure, HistoryChanged):
        return f"{text} ({endpoint})"
    if isinstance(failure, ClientError):
        start = text.removesuffix(")") if failure.where else f"{text} ({endpoint}"
        return f"{start}; outcome {failure.outcome})"
    return text


def _remedy(endpoint: str, where: str) -> str:
    """Return the advice for the case that no daemon answers; `where` has the reason."""
    for reason, advice in REMEDIES.items():
        if reason in where:
            return advice
    if endpoint == DEFAULT_ENDPOINT and os.path.exists(f"{LOCAL}/journal.db"):  # noqa: PTH110  # to avoid loading pathlib
        return f"{LOCAL} here is a data directory: try `kvsh --local {LOCAL}`, or start one with `kvd serve --data DIR`"
    return "start one with `kvd serve --data DIR`, or use `kvsh --local DIR`, or another --url"


def failure_document(failure: Failure, endpoint: str) -> bytes:
    """Return a failure as a JSON document and a newline."""
    if isinstance(failure, Refused):
        return json_error(failure.code, failure.message, failure.outcome, **failure.details)
    outcome = failure.outcome if isinstance(failure, ClientError) else "not executed"
    return json_error(_camel_to_code(type(failure).__name__), sentence(failure, endpoint), outcome)


def _camel_to_code(name: str) -> str:
    """Return `OUTCOME_UNKNOWN` for `OutcomeUnknown`."""
    return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name).lstrip("_")
