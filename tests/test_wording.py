"""Nothing reads what msgspec says in an error: its wording changes between versions (0.23 changed it)."""

import ast
from pathlib import Path

import msgspec
import pytest
from msgspec import json, msgpack

from kvd import config, wire, wire_errors
from kvd.errors import Refused
from kvd.transfer import formats
from kvsh.grammar import parse
from kvsh.grammar.vocabulary import Mistake

ROOT = Path(__file__).resolve().parent.parent
GIBBERISH = "Expected `qux` of length <= 9 - at `$[9]`"  # it looks like a sentence of msgspec's, and means nothing


def garble(function):
    """Return a function of msgspec with errors that say nothing."""

    def call(*arguments, **options):
        try:
            return function(*arguments, **options)
        except msgspec.ValidationError:
            raise msgspec.ValidationError(GIBBERISH) from None

    return call


class Garbled:
    """A decoder with errors that say nothing."""

    def __init__(self, decoder):
        self.decode = garble(decoder.decode)


BODIES = [
    ["GET"],
    ["GET", 1],
    ["GET", b""],
    ["GET", b"k" * 5000],
    ["SET", b"a", b"b", 0],
    ["SCAN", b"", None, 10_001],
    ["CLEAR", [b"a", b""]],
    ["MULTISET", [[b"a"]]],
    ["MULTISET", [[b"a", b"v" * 70_000]] * 2 + [[b"", b""]]],
    ["ONCE", b"12345678", ["GET", b"a"]],
    ["TRANSACTION", [], [["GET", b"a"], ["CLEAR", [b""]]]],
]
LINES = [b"set '' v", b"set k v ex 0", b"get " + b"k" * 4097, b"scan limit 0", b"once 12345678 get k"]
CONFIGS = [
    'kept_changes = "7"',
    "kept_changes = 0",
    "slow_kept = 10001",
    'listen = "tcp://a:1"',
    "listen = []",
    "listen = [1]",
    'fsync = "allways"',
]
RECORDS = [b'{"key":1,"value":""}', b'{"key":"a","value":"","ttl":1}', b'["a"]', b'{"key":"a","value":"","expires":0}']


def decode(body):
    with pytest.raises(Refused) as refused:
        wire.decode_command(msgpack.encode(body))
    return str(refused.value)


def fail_to_parse(line):
    with pytest.raises(Mistake) as mistake:
        parse.parse(line)
    return str(mistake.value)


def fail_to_configure(text, path):
    path.write_text(text)
    with pytest.raises(config.BadConfiguration) as bad:
        config.settings({}, {}, path)
    return str(bad.value)


def from_environment(value):
    with pytest.raises(config.BadConfiguration) as bad:
        config.settings({}, {"KVD_KEPT_CHANGES": value})
    return str(bad.value)


def fail_to_import(record):
    with pytest.raises(formats.Malformed) as malformed:
        formats.decode_jsonl(record)
    return str(malformed.value)


def answers(tmp_path):
    return [
        *map(decode, BODIES),
        *map(fail_to_parse, LINES),
        *(fail_to_configure(text, tmp_path / "kvd.toml") for text in CONFIGS),
        *map(from_environment, ["x", "0"]),
        *map(fail_to_import, RECORDS),
    ]


def test_whatever_msgspec_says_the_answers_are_the_same(tmp_path, monkeypatch):
    before = answers(tmp_path)
    assert len(set(before)) == len(before)
    decode_any = garble(wire.command_decoder())
    monkeypatch.setattr(wire, "command_decoder", lambda: decode_any)
    monkeypatch.setattr(formats, "DECODER", Garbled(formats.DECODER))
    monkeypatch.setattr(msgspec, "convert", garble(msgspec.convert))
    monkeypatch.setattr(msgpack, "decode", garble(msgpack.decode))
    monkeypatch.setattr(json, "decode", garble(json.decode))
    monkeypatch.setattr(wire_errors, "_decode_items", garble(wire_errors._decode_items))
    with pytest.raises(msgspec.ValidationError, match="qux"):
        formats.DECODER.decode(b"[]")
    assert answers(tmp_path) == before


def handlers_of_msgspec(tree):
    """Yield each `except` that catches an error of msgspec's and gives it a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type:
            caught = ast.unparse(node.type)
            if "ValidationError" in caught or "MsgspecError" in caught:
                yield node


def test_no_handler_of_msgspecs_refusals_has_a_name_for_the_error_to_read_it_by():
    read = [
        f"{path}:{handler.lineno}"
        for room in ("kvd", "kvsh")
        for path in sorted((ROOT / room).rglob("*.py"))
        for handler in handlers_of_msgspec(ast.parse(path.read_text()))
    ]
    assert read == []


def test_that_search_finds_one():
    source = "try: pass\nexcept msgspec.ValidationError as error: pass"
    assert [handler.name for handler in handlers_of_msgspec(ast.parse(source))] == ["error"]
