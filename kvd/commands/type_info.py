"""Types as `msgspec.inspect` sees them, without the layers around them. Pure."""

from collections.abc import Hashable, Iterable
from functools import cache
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec import inspect as types

_structs: dict[type[Struct], types.StructType] = {}


class BareType(NamedTuple):
    """A type without titles, annotations and `| None`; and what these said."""

    type: types.Type
    title: str | None
    extra: dict[str, Any]  # of `Meta(extra=...)`
    is_optional: bool


@cache
def type_of(kind: Hashable) -> types.Type:
    """Return a type as msgspec sees it."""
    return types.type_info(kind)


def struct_of(kind: type[Struct]) -> types.StructType:
    """Return a struct class as msgspec sees it."""
    if kind not in _structs:
        load_structs((kind,))
    return _structs[kind]


def load_structs(kinds: Iterable[type[Struct]]) -> None:
    """Look at many struct classes at once: TRANSACTION alone contains most of the others, and costs 2 ms."""
    missing = [kind for kind in kinds if kind not in _structs]
    _structs.update(
        (struct.cls, struct) for struct in types.multi_type_info(missing) if isinstance(struct, types.StructType)
    )


def without_metadata(kind: types.Type) -> types.Type:
    """Return a type without the `Metadata` around it (title, extra)."""
    return kind.type if isinstance(kind, types.Metadata) else kind


def split_type(kind: types.Type) -> BareType:
    """Return a type without the layers around it, and what they said."""
    title: str | None = None
    extra: dict[str, Any] = {}
    is_optional = False
    while True:
        if isinstance(kind, types.Metadata):
            title = title or (kind.extra_json_schema or {}).get("title")
            extra |= kind.extra or {}
            kind = kind.type
        elif isinstance(kind, types.UnionType) and kind.includes_none and len(kind.types) == 2:  # noqa: PLR2004  # X | None
            is_optional = True
            kind = next(each for each in kind.types if not isinstance(each, types.NoneType))
        else:
            return BareType(kind, title, extra, is_optional)


def structs_in(kind: types.Type) -> tuple[type[Any], ...]:
    """Return the struct classes that a type allows: one, or those of a union; none for another type."""
    kind = without_metadata(kind)
    members = kind.types if isinstance(kind, types.UnionType) else (kind,)
    return tuple(each.cls for each in members if isinstance(each, types.StructType))
