"""Name lookup for reflection. The library finds services and messages; grpcurl also asks for single methods."""

from typing import Any

from google.protobuf import descriptor_pool


class Symbols:
    """The descriptor pool, which also finds methods, fields and enum values."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, name: str) -> Any:  # noqa: N802  # the pool's name
        """Return the file that declares a full name. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            return self._owner(name).file

    def _owner(self, name: str) -> Any:
        """Return the service, message or enum that has this member. Raises KeyError."""
        parent, _, member = name.rpartition(".")
        kinds = (
            (self._pool.FindServiceByName, "methods_by_name"),
            (self._pool.FindMessageTypeByName, "fields_by_name"),
            (self._pool.FindEnumTypeByName, "values_by_name"),
        )
        for find, members in kinds:
            try:
                owner = find(parent)
            except KeyError:
                continue
            if member in getattr(owner, members):
                return owner
        raise KeyError(name)
