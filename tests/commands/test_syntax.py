"""A command class as a syntax."""

import pytest

from kvd.commands import COMMANDS, Command, Read, ServerCommand, syntax_of
from kvd.commands.atomic import Once, Transaction
from kvd.commands.expiry import Expire
from kvd.commands.fields import Option
from kvd.commands.syntax import Shape
from kvd.commands.values import MultiSet, Set


@pytest.mark.parametrize(
    "usage",
    [
        "SET key value [EX seconds | PX ms | AT unix-ms | KEEPTTL] [NX | XX | REVISION n] [PREVIOUS]",
        "CLEAR key... [REVISION n]",
        "MULTISET key value... [EX seconds | PX ms | AT unix-ms]",
        "EXPIRE key seconds [REVISION n]",
        "TRANSACTION conditions commands",
        "ONCE token command",
        "CLIENTS",
    ],
)
def test_a_usage_line_shows_words_options_and_alternatives(usage):
    assert syntax_of(COMMANDS[usage.partition(" ")[0]]).usage() == usage


def test_a_row_of_commands_is_all_that_is_known_of_a_command():
    assert syntax_of(Expire).as_map() == {
        "name": "EXPIRE",
        "family": "expiry",
        "access": "write",
        "summary": "Make a key expire after a number of seconds.",
        "syntax": "EXPIRE key seconds [REVISION n]",
        "arguments": [
            {"name": "key", "type": "key", "required": True, "syntax": "key"},
            {"name": "ttl", "type": "milliseconds", "required": True, "syntax": "seconds"},
            {"name": "revision", "type": "revision", "required": False, "syntax": "REVISION n"},
        ],
        "examples": ["EXPIRE session 60", "EXPIRE session 60 REVISION 7"],
    }


def test_options_become_parameters_with_their_words_scales_and_groups():
    syntax = syntax_of(Set)
    ttl = syntax.parameters[2]
    assert (ttl.field, ttl.shape, ttl.scalar, ttl.kind, ttl.required) == ("ttl", Shape.ONE, int, "milliseconds", False)
    assert ttl.options == (Option("EX", "seconds", 1000), Option("PX", "ms", 1))
    assert [[parameter.field for parameter in group] for group in syntax.groups] == [
        ["key"],
        ["value"],
        ["ttl", "at", "keep_ttl"],
        ["nx", "xx", "revision"],
        ["previous"],
    ]
    assert [parameter.field for parameter in syntax.parameters if parameter.is_positional] == ["key", "value"]


@pytest.mark.parametrize(
    ("command", "field", "expected"),
    [
        (Set, 0, (Shape.ONE, bytes, "key")),
        (Set, 4, (Shape.FLAG, bool, "bool")),
        (COMMANDS["CLEAR"], 0, (Shape.MANY, bytes, "key")),
        (MultiSet, 0, (Shape.PAIRS, bytes, "key")),
        (Transaction, 0, (Shape.STRUCTURE, list, "array")),
        (Transaction, 1, (Shape.STRUCTURE, list, "array")),
        (Once, 1, (Shape.COMMAND, Command, "command")),
        (COMMANDS["INFO"], 0, (Shape.ONE, str, "name")),
    ],
)
def test_a_field_has_a_shape_a_scalar_and_a_kind(command, field, expected):
    parameter = syntax_of(command).parameters[field]
    assert (parameter.shape, parameter.scalar, parameter.kind) == expected


def test_a_help_without_words_is_empty():
    class Silent(ServerCommand, tag="SILENT"):
        pass

    Silent.__doc__ = None
    assert (syntax_of(Silent).summary, syntax_of(Silent).help, syntax_of(Silent).access) == ("", "", "server")


def test_the_access_of_each_command_is_its_base_class():
    assert {syntax_of(command).access for command in COMMANDS.values() if issubclass(command, Read)} == {"read"}


@pytest.mark.parametrize("command", COMMANDS.values())
def test_a_summary_fits_into_a_line_of_help(command):
    assert len(syntax_of(command).summary) <= 78
