"""Exit codes and sentences: a documented contract."""

import json

import pytest

from kvd.client import DEFAULT_ENDPOINT
from kvd.commands.base import Error
from kvd.errors import Conflict, NoReply, NotLetIn, OutcomeUnknown, TooLarge, Unreachable
from kvsh.grammar.vocabulary import Mistake
from kvsh.ui.outcome import exit_code, failure_document, failure_of, sentence

NOBODY = (
    "GET: no daemon answers at tcp://x: start one with `kvd serve --data DIR`, or use `kvsh --local DIR`, "
    "or another --url"
)


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (Mistake("no", "GET key"), 2, "no; the syntax is GET key"),
        (NoReply("GET: no reply in time"), 3, "GET: no reply in time (tcp://x; outcome failed)"),
        (OutcomeUnknown("SET: no reply"), 3, "SET: no reply (tcp://x; outcome unknown)"),
        (
            Unreachable("GET: no daemon answers"),
            3,
            NOBODY,
        ),
        (
            NotLetIn("GET: it may want keys"),
            3,
            "GET: it may want keys: see --key and --server-key (tcp://x)",
        ),
        (TooLarge("too\nlarge\x1b"), 4, "TOO_LARGE: too large\\x1b"),
        (Conflict("the key exists", revision=3), 5, "CONFLICT: the key exists"),
    ],
)
def test_each_failure_has_a_code_and_a_sentence(failure, code, text):
    assert (exit_code(failure), sentence(failure, "tcp://x")) == (code, text)


def test_a_data_directory_beside_a_silent_default_endpoint_is_pointed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failure = Unreachable("INFO: no daemon answers")
    (tmp_path / ".data").mkdir()
    assert "--local .data" not in sentence(failure, DEFAULT_ENDPOINT)
    (tmp_path / ".data/journal.db").touch()
    assert "try `kvsh --local .data`" in sentence(failure, DEFAULT_ENDPOINT)
    assert "--local .data" not in sentence(failure, "tcp://x")


def test_an_error_reply_is_the_error_it_tells():
    failure = failure_of(Error("CONFLICT", "the key exists", {"outcome": "failed", "revision": 3}))
    assert isinstance(failure, Conflict)
    assert failure.details == {"revision": 3}


@pytest.mark.parametrize(
    ("failure", "code", "outcome"),
    [
        (Conflict("x", revision=3), "CONFLICT", "failed"),
        (OutcomeUnknown("x"), "OUTCOME_UNKNOWN", "unknown"),
        (Mistake("x"), "MISTAKE", "not executed"),
    ],
)
def test_each_failure_is_a_json_document(failure, code, outcome):
    error = json.loads(failure_document(failure, "tcp://x"))["error"]
    assert (error["code"], error["outcome"]) == (code, outcome)
