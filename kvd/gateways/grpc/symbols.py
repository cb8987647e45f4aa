"""What reflection knows by name. The library finds files by services and messages; grpcurl also asks for one method."""

from typing import Any

from google.protobuf import descriptor_pool


class Symbols:
    """The pool of descriptors, in which methods, fields and the values of enums are found, too."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        """Return what the pool itself has."""
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, name: str) -> Any:  # noqa: N802  # the pool's name
        """Return the file that a full name is declared in. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            return self._owner(name).file

    def _owner(self, name: str) -> Any:
        """Return the service, message or enum that has a member of this name. Raises KeyError."""
        parent, _, member = name.rpartition(".")
        kinds = (
            (self._pool.FindServiceByName, "methods_by_name"),
            (self._pool.FindMessageTypeByName, "fields_by_name"),
            (self._pool.FindEnumTypeByName, "values_by_name"),
        )
        for find, members in kinds:
            try:
                found = find(parent)
            except KeyError:
                continue
            if member in getattr(found, members):
                return found
        raise KeyError(name)
