"""Why a value does not fit a type: `first_fault`. Pure.

msgspec checks values in C and raises an error with a sentence for people. Its wording changes between versions, so no
code parses it. When msgspec refuses a value, this file walks the value along the same types (`msgspec.inspect`) and
returns the first fault as data; each caller writes its own sentence.

It knows the types that occur in commands, options and imported lines. Another type is a TypeError.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from types import NoneType
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec import inspect as types

from kvd.commands.type_info import without_metadata

Path = tuple[int | str, ...]  # places in arrays and names of members, from the outside in
Decode = Callable[[Any], Any]


class Problem(Enum):
    """The kinds of faults."""

    TYPE = auto()  # the value has another type, `got`
    MIN = auto()  # the value, or its length, is below `bound`
    MAX = auto()  # the value, or its length, is above `bound`
    LENGTH = auto()  # an array has `got` items instead of `bound`
    CHOICE = auto()  # no allowed struct is named `got`
    MEMBER = auto()  # there is no member `got`


class Fault(NamedTuple):
    """One fault: its place, its kind, and the expected type. `is_optional`: None is allowed too."""

    path: Path
    problem: Problem
    expected: type
    is_optional: bool = False
    bound: int = 0
    got: Any = None


class Inside(NamedTuple):
    """A fault inside the struct at `path`; the path of `fault` begins in that struct."""

    path: Path
    struct: type[Any]
    fault: "Finding"


Finding = Fault | Inside


def first_fault(value: Any, expected: types.Type, decode: Decode = lambda value: value) -> Finding | None:
    """Return the first fault of a value, in the order of msgspec's own checks; None if the value fits.

    `decode` is called for each value on the way, so that values are decoded only as deep as the walk goes.
    """
    return _Walk(decode).find(value, expected)


class _Walk:
    """One walk along a value and its type."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode

    def find(self, value: Any, expected: types.Type) -> Finding | None:
        """Return the first fault at or in a value."""
        return self._check(self._decode(value), expected)

    def _check(self, value: Any, expected: types.Type) -> Finding | None:
        expected = without_metadata(expected)
        match expected:
            case types.UnionType():
                return self._check_union(value, expected)
            case types.StructType():
                return self._check_structs(value, [expected])
            case types.ListType() | types.VarTupleType():
                return (
                    _check_type(value, list)
                    or _check_length(value, expected, list)
                    or self._check_items(value, expected)
                )
            case types.TupleType():
                return _check_type(value, list) or self._check_parts(value, expected.item_types)
            case _:
                return _check_scalar(value, expected)

    def _check_union(self, value: Any, union: types.UnionType) -> Finding | None:
        members = [without_metadata(each) for each in union.types]
        kinds = [each for each in members if not isinstance(each, types.NoneType)]
        structs = [each for each in kinds if isinstance(each, types.StructType)]
        is_optional = len(kinds) < len(members)
        if value is None and is_optional:
            return None
        if structs:
            return self._check_structs(value, structs)
        [single] = kinds
        fault = self._check(value, single)
        if isinstance(fault, Fault) and not fault.path and fault.problem is Problem.TYPE:
            return fault._replace(is_optional=is_optional)
        return fault

    def _check_items(self, value: Sequence[Any], expected: types.CollectionType) -> Finding | None:
        return _first(_shift(place, self.find(item, expected.item_type)) for place, item in enumerate(value))

    def _check_parts(self, value: Sequence[Any], parts: Sequence[types.Type]) -> Finding | None:
        if len(value) != len(parts):
            return Fault((), Problem.LENGTH, list, bound=len(parts), got=len(value))
        pairs = enumerate(zip(value, parts, strict=True))
        return _first(_shift(place, self.find(item, part)) for place, (item, part) in pairs)

    def _check_structs(self, value: Any, structs: Sequence[types.StructType]) -> Finding | None:
        """Return the fault of a value that should be one of several structs; its name selects one."""
        if isinstance(value, Struct):  # its fields were checked when it was built
            name = value.__struct_config__.tag
            return None if name in [each.tag for each in structs] else Fault((), Problem.CHOICE, str, got=name)
        if not structs[0].array_like:
            return _check_type(value, dict) or self._check_members(value, structs[0])
        if fault := _check_type(value, list):
            return fault
        name = self._decode(value[0]) if value else None
        struct = next((each for each in structs if each.tag == name), None)
        if struct is None:
            return Fault((), Problem.CHOICE, str, got=name)
        return _wrap(struct, self._check_arguments(value[1:], struct))

    def _check_arguments(self, values: Sequence[Any], struct: types.StructType) -> Finding | None:
        """Return the first fault in the arguments of a struct that is written as an array."""
        maximum, minimum = len(struct.fields), sum(field.required for field in struct.fields)
        if not minimum <= len(values) <= maximum:
            bound = minimum if len(values) < minimum else maximum
            return Fault((), Problem.LENGTH, list, bound=bound, got=len(values))
        pairs = enumerate(zip(values, struct.fields, strict=False), 1)
        return _first(_shift(place, self.find(item, field.type)) for place, (item, field) in pairs)

    def _check_members(self, value: dict[str, Any], struct: types.StructType) -> Finding | None:
        """Return the first fault in a struct that is written as an object."""
        known = {field.encode_name: field.type for field in struct.fields}
        unknown = (Fault((), Problem.MEMBER, str, got=name) for name in value if name not in known)
        members = (_shift(name, self.find(item, known[name])) for name, item in value.items() if name in known)
        return _wrap(struct, _first(unknown) or _first(members))


def _first(faults: Iterable[Finding | None]) -> Finding | None:
    return next((fault for fault in faults if fault is not None), None)


def _shift(step: int | str, fault: Finding | None) -> Finding | None:
    """Return a fault with one step in front of its path."""
    return fault and fault._replace(path=(step, *fault.path))


def _wrap(struct: types.StructType, fault: Finding | None) -> Finding | None:
    return fault and Inside((), struct.cls, fault)


_SCALARS: dict[type[types.Type], type] = {
    types.BoolType: bool,
    types.BytesType: bytes,
    types.IntType: int,
    types.NoneType: NoneType,
    types.StrType: str,
}


def _check_scalar(value: Any, expected: types.Type) -> Fault | None:
    """Return the fault of a value without parts."""
    if type(expected) not in _SCALARS:
        raise TypeError(f"{expected}: commands/diagnosis.py does not know this type")
    kind = _SCALARS[type(expected)]
    fault = _check_type(value, kind)
    if isinstance(expected, types.IntType):
        return fault or _check_bounds(value, expected.ge, expected.le, kind)
    if isinstance(expected, types.BytesType | types.StrType):
        return fault or _check_length(value, expected, kind)
    return fault


def _check_type(value: Any, kind: type) -> Fault | None:
    """Return the fault of a value of another type. A tuple counts as a list; true is not a number."""
    got = list if isinstance(value, list | tuple) else type(value)
    return None if got is kind else Fault((), Problem.TYPE, kind, got=got)


def _check_length(value: Any, expected: Any, kind: type) -> Fault | None:
    return _check_bounds(len(value), expected.min_length, expected.max_length, kind)


def _check_bounds(number: int, minimum: int | None, maximum: int | None, kind: type) -> Fault | None:
    """Return the fault of a number or a length out of bounds."""
    if minimum is not None and number < minimum:
        return Fault((), Problem.MIN, kind, bound=minimum)
    if maximum is not None and number > maximum:
        return Fault((), Problem.MAX, kind, bound=maximum)
    return None
