"""Helpers of the shell's tests (a module on the path by pytest): files of cases, commands of every kind."""

import sys
from pathlib import Path

from hypothesis import strategies as st

from kvd.commands import COMMANDS, syntax_of
from kvd.commands.syntax import Shape

KVSH = [str(Path(sys.executable).with_name("kvsh"))]
PATIENCE_S = 60.0
CASES = Path(__file__).parent.parent / "kvsh" / "cases"


def cases(name):
    """Return the (line before the cursor, what is expected) of a file of cases."""
    commands = " ".join(command for command in COMMANDS if command != "TRANSACTION")
    lines = (CASES / name).read_text(encoding="utf-8").replace("{commands}", commands).splitlines()
    rows = [line.partition("| =>") for line in lines if not line.startswith("#")]
    return [(line.encode(), expected.removeprefix(" ")) for line, _, expected in rows]


def commands_of(classes):
    """Return a strategy for commands of these classes with any arguments within their bounds."""
    return st.sampled_from([cls for cls in classes if syntax_of(cls).parameters]).flatmap(command_of_class)


def command_of_class(cls):
    arguments = {parameter.field: argument_of(parameter) for parameter in syntax_of(cls).parameters}
    return st.builds(cls, **arguments).filter(is_exclusive)


def is_exclusive(command):
    given = [[name for name in group if getattr(command, name) not in (None, False)] for group in command.exclusive]
    return all(len(names) <= 1 for names in given)


def argument_of(parameter):
    value = {Shape.ONE: scalar_of(parameter), Shape.FLAG: st.sampled_from([True])}.get(parameter.shape)
    word = st.binary(min_size=8, max_size=20) | st.sampled_from([b"LIMIT   ".strip(), b"values", b"ex", b'"', b"#"])
    if parameter.shape is Shape.MANY:
        value = st.lists(word, min_size=1, max_size=3)
    elif parameter.shape is Shape.PAIRS:
        value = st.lists(st.tuples(word, st.binary(max_size=9)), min_size=1, max_size=3)
    elif parameter.shape is Shape.COMMAND:
        raise NotImplementedError
    return value if parameter.required else st.none() | value


def scalar_of(parameter):
    if parameter.scalar is int:
        return st.integers(min_value=1, max_value=1_000)  # the least bound of any
    if parameter.scalar is str:
        return st.text(min_size=1, max_size=8)
    return st.binary(min_size=8, max_size=20) | st.sampled_from([b"limit123", b"KEEPTTL ", b"a b c d e"])
