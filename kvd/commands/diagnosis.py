"""Where a value departs from a type, and how: `first_fault`. Pure.

msgspec checks values in C and raises an error whose sentence is for people: its wording changes between versions. So
nothing here or elsewhere reads that sentence. When msgspec says no, this file walks the value along the same types, by
`msgspec.inspect`, and returns the first departure as data; each caller makes a sentence of it.

It knows the types that commands, options and lines of a file are made of; another is a TypeError.
"""

from collections.abc import Callable, Hashable, Sequence
from enum import Enum, auto
from functools import cache
from types import NoneType
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec import inspect as types


@cache
def type_of(kind: Hashable) -> types.Type:
    """Return a type as msgspec sees it."""
    return types.type_info(kind)


Path = tuple[int | str, ...]  # places in arrays and names of members, from the outside in
Check = Callable[[Any], Any]


class Problem(Enum):
    """How a value departs from its type."""

    TYPE = auto()  # it is of another one; `got` is its type
    MIN = auto()  # it is below `bound`, or shorter
    MAX = auto()  # it is above `bound`, or longer
    LENGTH = auto()  # an array of `got` items where there have to be `bound` (or, in a struct, another number)
    CHOICE = auto()  # `got` is the name of no struct of those allowed
    MEMBER = auto()  # there is no member `got`


class Fault(NamedTuple):
    """One departure: where, how, and from which type (None may be allowed beside it)."""

    path: Path
    problem: Problem
    expected: type
    is_optional: bool = False
    bound: int = 0
    got: Any = None


class Inside(NamedTuple):
    """A departure inside a struct at `path`; the path of `fault` begins in that struct."""

    path: Path
    struct: type[Any]
    fault: "Finding"


Finding = Fault | Inside


def first_fault(value: Any, expected: types.Type, look: Check = lambda value: value) -> Finding | None:
    """Return the first departure of a value from a type, in the order in which msgspec meets them; None without any.

    `look` returns what stands for a value: with it, values may be decoded only as deep as the walk goes.
    """
    return Walk(look).fault(value, expected)


class Walk:
    """One walk along a value and its type."""

    def __init__(self, look: Check) -> None:
        self._look = look

    def fault(self, value: Any, expected: types.Type) -> Finding | None:
        """Return the first departure at or in a value."""
        return self._of_seen(self._look(value), expected)

    def _of_seen(self, value: Any, expected: types.Type) -> Finding | None:
        expected = bare(expected)
        match expected:
            case types.UnionType():
                return self._of_union(value, expected)
            case types.StructType():
                return self._of_structs(value, [expected])
            case types.ListType() | types.VarTupleType():
                return wrong_type(value, list) or wrong_length(value, expected, list) or self._of_items(value, expected)
            case types.TupleType():
                return wrong_type(value, list) or self._of_parts(value, expected.item_types)
            case _:
                return of_scalar(value, expected)

    def _of_union(self, value: Any, union: types.UnionType) -> Finding | None:
        members = [bare(each) for each in union.types]
        wanted = [each for each in members if not isinstance(each, types.NoneType)]
        structs = [each for each in wanted if isinstance(each, types.StructType)]
        is_optional = len(wanted) < len(members)
        if value is None and is_optional:
            return None
        if structs:
            return self._of_structs(value, structs)
        [single] = wanted
        fault = self._of_seen(value, single)
        if isinstance(fault, Fault) and not fault.path and fault.problem is Problem.TYPE:
            return fault._replace(is_optional=is_optional)
        return fault

    def _of_items(self, value: Sequence[Any], expected: types.CollectionType) -> Finding | None:
        return first(below(place, self.fault(item, expected.item_type)) for place, item in enumerate(value))

    def _of_parts(self, value: Sequence[Any], parts: Sequence[types.Type]) -> Finding | None:
        if len(value) != len(parts):
            return Fault((), Problem.LENGTH, list, bound=len(parts), got=len(value))
        pairs = enumerate(zip(value, parts, strict=True))
        return first(below(place, self.fault(item, part)) for place, (item, part) in pairs)

    def _of_structs(self, value: Any, structs: Sequence[types.StructType]) -> Finding | None:
        """Return the departure of a value from each struct of a union, which its name tells apart."""
        if isinstance(value, Struct):  # it was made of such values, and needs only to be one of those allowed
            name = value.__struct_config__.tag
            return None if name in [each.tag for each in structs] else Fault((), Problem.CHOICE, str, got=name)
        if not structs[0].array_like:
            return wrong_type(value, dict) or self._of_members(value, structs[0])
        if fault := wrong_type(value, list):
            return fault
        name = self._look(value[0]) if value else None
        struct = next((each for each in structs if each.tag == name), None)
        if struct is None:
            return Fault((), Problem.CHOICE, str, got=name)
        return inside(struct, self._of_arguments(value[1:], struct))

    def _of_arguments(self, values: Sequence[Any], struct: types.StructType) -> Finding | None:
        """Return the departure of a struct written as an array: the first place is its name's."""
        most, least = len(struct.fields), sum(field.required for field in struct.fields)
        if not least <= len(values) <= most:
            return Fault((), Problem.LENGTH, list, bound=least if len(values) < least else most, got=len(values))
        pairs = enumerate(zip(values, struct.fields, strict=False), 1)
        return first(below(place, self.fault(item, field.type)) for place, (item, field) in pairs)

    def _of_members(self, value: dict[str, Any], struct: types.StructType) -> Finding | None:
        """Return the departure of a struct written as an object."""
        known = {field.encode_name: field.type for field in struct.fields}
        unknown = (Fault((), Problem.MEMBER, str, got=name) for name in value if name not in known)
        members = (below(name, self.fault(item, known[name])) for name, item in value.items() if name in known)
        return inside(struct, first(unknown) or first(members))


def first(faults: Any) -> Finding | None:
    """Return the first that is one."""
    return next(filter(None, faults), None)


def below(step: int | str, fault: Finding | None) -> Finding | None:
    """Return a fault as seen from one step further out."""
    return fault and fault._replace(path=(step, *fault.path))


def inside(struct: types.StructType, fault: Finding | None) -> Finding | None:
    """Return a fault as one inside a struct."""
    return fault and Inside((), struct.cls, fault)


def bare(expected: types.Type) -> types.Type:
    """Return a type without its title."""
    return expected.type if isinstance(expected, types.Metadata) else expected


SCALARS: dict[type[types.Type], type] = {
    types.BoolType: bool,
    types.BytesType: bytes,
    types.IntType: int,
    types.NoneType: NoneType,
    types.StrType: str,
}


def of_scalar(value: Any, expected: types.Type) -> Fault | None:
    """Return the departure of a value that has no others in it."""
    if type(expected) not in SCALARS:
        raise TypeError(f"{expected}: commands/diagnosis.py does not know this type")
    kind = SCALARS[type(expected)]
    fault = wrong_type(value, kind)
    if isinstance(expected, types.IntType):
        return fault or out_of_bounds(value, expected.ge, expected.le, kind)
    if isinstance(expected, types.BytesType | types.StrType):
        return fault or wrong_length(value, expected, kind)
    return fault


def wrong_type(value: Any, kind: type) -> Fault | None:
    """Return the fault of a value that is not of a type. A tuple is a list, but true is no number."""
    found = list if isinstance(value, list | tuple) else type(value)
    return None if found is kind else Fault((), Problem.TYPE, kind, got=found)


def wrong_length(value: Any, expected: Any, kind: type) -> Fault | None:
    """Return the fault of a value that is too short or too long."""
    return out_of_bounds(len(value), expected.min_length, expected.max_length, kind)


def out_of_bounds(number: int, least: int | None, most: int | None, kind: type) -> Fault | None:
    """Return the fault of a number, or a length, that is not within its bounds."""
    if least is not None and number < least:
        return Fault((), Problem.MIN, kind, bound=least)
    if most is not None and number > most:
        return Fault((), Problem.MAX, kind, bound=most)
    return None
