"""The tree of errors, drawn in `kvd.errors`, and the way from a reply to an exception."""

import pytest

from kvd import errors
from kvd.errors import CODES, FAILED, NOT_EXECUTED, UNKNOWN, Refused, refusal

OUTCOMES = {
    "BAD_REQUEST": NOT_EXECUTED,
    "UNKNOWN_COMMAND": NOT_EXECUTED,
    "BAD_ARGUMENT": NOT_EXECUTED,
    "TOO_LARGE": NOT_EXECUTED,
    "WRONG_TYPE": FAILED,
    "CONFLICT": FAILED,
    "COMPACTED": FAILED,
    "DENIED": NOT_EXECUTED,
    "BUSY": NOT_EXECUTED,
    "FULL": FAILED,
    "READ_ONLY": NOT_EXECUTED,
    "CORRUPT": FAILED,
    "SHUTTING_DOWN": NOT_EXECUTED,
    "INTERNAL": UNKNOWN,
}


def test_each_code_of_the_wire_has_a_class_and_says_whether_the_command_ran():
    assert {code: cls.outcome for code, cls in CODES.items()} == OUTCOMES


@pytest.mark.parametrize("code", OUTCOMES)
def test_a_reply_becomes_the_exception_of_its_code(code):
    error = refusal(code, "a sentence", {"revision": 7})
    assert type(error) is CODES[code]
    assert (error.code, error.message, error.details, error.outcome) == (
        code,
        "a sentence",
        {"revision": 7},
        OUTCOMES[code],
    )
    assert str(error) == f"{code}: a sentence"


def test_a_code_of_a_newer_daemon_is_a_refusal_of_unknown_outcome_that_changes_no_other():
    error = refusal("NEWER", "a sentence", {})
    assert (type(error), error.code, error.outcome, str(error)) == (Refused, "NEWER", UNKNOWN, "NEWER: a sentence")
    assert (Refused.code, Refused.outcome) == ("INTERNAL", FAILED)


def test_details_may_have_any_name():
    assert refusal("CONFLICT", "a", {"message": 1, "code": 2}).details == {"message": 1, "code": 2}


def all_errors(cls=errors.KvdError):
    for child in cls.__subclasses__():
        yield child
        yield from all_errors(child)


@pytest.mark.parametrize("cls", [cls for cls in all_errors() if cls.__module__ == "kvd.errors"])
def test_the_drawing_names_each_error(cls):
    drawn = [line for line in errors.__doc__.splitlines() if f" {cls.__name__} " in line]
    assert len(drawn) == 1
    code = vars(cls).get("code") if cls is not Refused else None
    exit_code = vars(cls).get("exit_code") if cls is not errors.StartError else None
    assert str(code or exit_code or "") in drawn[0]
