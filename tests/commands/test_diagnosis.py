"""The first fault of a value is found without msgspec's sentences, and exactly when msgspec refuses it."""

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, msgpack

from kvd.commands import COMMANDS, Command
from kvd.commands.diagnosis import Fault, Inside, Problem, first_fault
from kvd.commands.type_info import type_of
from kvd.commands.values import Get


class Named(Struct, forbid_unknown_fields=True):
    """A struct that is an object."""

    name: str | None = None
    size: Annotated[int, Meta(ge=1, le=5)] | None = None


Few = Annotated[list[Annotated[bytes, Meta(min_length=1)]], Meta(max_length=2)]


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (int, 5, None),
        (int, True, Fault((), Problem.TYPE, int, got=bool)),
        (int | None, None, None),
        (int | None, "5", Fault((), Problem.TYPE, int, is_optional=True, got=str)),
        (Annotated[int, Meta(ge=1)] | None, 0, Fault((), Problem.MIN, int, bound=1)),
        (Annotated[str, Meta(max_length=2)], "abc", Fault((), Problem.MAX, str, bound=2)),
        (bool, 1, Fault((), Problem.TYPE, bool, got=int)),
        (None, 1, Fault((), Problem.TYPE, type(None), got=int)),
        (Annotated[bytes, Meta(title="a title")], b"", None),
        (Few, [b"a", b"b"], None),
        (Few, [b"a", b""], Fault((1,), Problem.MIN, bytes, bound=1)),
        (Few, [b"a", b"b", b""], Fault((), Problem.MAX, list, bound=2)),
        (tuple[str, ...], ["a", 1], Fault((1,), Problem.TYPE, str, got=int)),
        (list[tuple[bytes, int]], [(b"a", 1), [b"b", "c"]], Fault((1, 1), Problem.TYPE, int, got=str)),
        (list[tuple[bytes, int]], [(b"a",)], Fault((0,), Problem.LENGTH, list, bound=2, got=1)),
        (Named, {"name": "n", "size": None}, None),
        (Named, [], Fault((), Problem.TYPE, dict, got=list)),
        (Named, {"nom": 1, "size": 0}, Inside((), Named, Fault((), Problem.MEMBER, str, got="nom"))),
        (Named, {"size": 6}, Inside((), Named, Fault(("size",), Problem.MAX, int, bound=5))),
        (
            list[Named],
            [{}, {"name": 5}],
            Inside((1,), Named, Fault(("name",), Problem.TYPE, str, is_optional=True, got=int)),
        ),
        (Get, ["GET", b""], Inside((), Get, Fault((1,), Problem.MIN, bytes, bound=1))),
        (Get, ["GET"], Inside((), Get, Fault((), Problem.LENGTH, list, bound=1, got=0))),
        (Get, ["SET"], Fault((), Problem.CHOICE, str, got="SET")),
        (Get, Get(b"a"), None),
        (Get, "GET", Fault((), Problem.TYPE, list, got=str)),
    ],
)
def test_the_first_departure_is_told_with_its_place(kind, value, fault):
    assert first_fault(value, type_of(kind)) == fault


def test_a_type_that_is_not_known_is_a_defect_and_not_passed_over():
    with pytest.raises(TypeError, match="does not know this type"):
        first_fault(1.5, type_of(float))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 5, 10_000, 10_001, 2**48, 2**48 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1]),
    st.sampled_from([b"", b"a", b"1234567", b"12345678", b"k" * 64, b"k" * 65, b"k" * 4096, b"k" * 4097]),
    st.sampled_from(["", "a", "k" * 64, "k" * 65, "GET"]),
    st.floats() | st.sampled_from([0.0, 1.0]),
)
ARGUMENTS = st.deferred(
    lambda: st.one_of(
        LEAVES,
        st.lists(ARGUMENTS, max_size=3),
        st.dictionaries(st.text(max_size=2), LEAVES, max_size=2),
        BODIES,
    )
)
BODIES = st.builds(
    lambda name, rest: [name, *rest], st.sampled_from([*COMMANDS, "NOPE", b"GET", 5]), st.lists(ARGUMENTS, max_size=5)
)


@given(st.sampled_from(list(COMMANDS.values())), st.lists(ARGUMENTS, max_size=5))
def test_whatever_msgspec_refuses_has_a_fault_and_what_it_takes_has_none(command: type[Command], arguments):
    body = msgpack.encode([command.command_name(), *arguments])
    try:
        msgpack.decode(body, type=command)
        is_taken = True
    except msgspec.ValidationError:
        is_taken = False
    assert (first_fault(msgpack.decode(body), type_of(command)) is None) == is_taken
