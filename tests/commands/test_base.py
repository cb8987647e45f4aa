"""Rules that all command classes obey."""

import pytest

from kvd.commands import COMMANDS, FAMILIES, Read, ServerCommand, Write
from kvd.commands.base import commands_in, is_given
from kvd.commands.values import Get, Set
from kvd.errors import BadArgument


def test_the_table_holds_each_command_of_each_family_once():
    defined = commands_in(FAMILIES)
    assert list(COMMANDS.values()) == list(defined)
    assert list(COMMANDS) == [cls.command_name() for cls in defined]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_a_command_reads_or_writes_or_asks_and_says_what_it_does(command):
    assert sum(issubclass(command, base) for base in (Read, Write, ServerCommand)) == 1
    assert command.__doc__.strip()
    assert "run" in vars(command)
    assert command.examples


@pytest.mark.parametrize(("value", "expected"), [(None, False), (False, False), (True, True), (0, True), (b"", True)])
def test_nil_and_a_false_flag_are_absent_and_a_zero_is_there(value, expected):
    assert is_given(value) is expected


def test_a_command_whose_options_exclude_each_other_says_which_two():
    with pytest.raises(BadArgument, match="BAD_ARGUMENT: xx and revision exclude each other: give one of them"):
        Set(b"a", b"", xx=True, revision=0).check_exclusive()
    assert Get(b"a").check_exclusive() is None
