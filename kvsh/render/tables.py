"""Rows with named columns: results that are rows, and lists of similar maps."""

from collections.abc import Iterable, Sequence
from typing import Any

from kvd.commands import Command

COLUMNS_MAX = 12


class Table(list[Any]):
    """Rows, and the names of their columns."""

    def __init__(self, rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> None:
        super().__init__(rows)
        self.columns = tuple(columns)


def name_columns(command: Command, value: Any) -> Any:
    """Return a result with names for the columns of its rows, if it has rows."""
    if not isinstance(value, list | tuple) or not value:
        return value
    if all(isinstance(each, dict) for each in value):
        return _table_of_maps(value)
    columns = command.column_names()
    if _are_rows(value, columns):
        return Table(value, columns)
    first, *others = value
    return [Table(first, columns), *others] if _are_rows(first, columns) else value


def _are_rows(value: Any, columns: Sequence[str]) -> bool:
    """Return whether a value is a list of rows with one field for each column."""
    if not columns or not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(row, list | tuple) and len(row) == len(columns) for row in value)


def _table_of_maps(maps: Sequence[dict[str, Any]]) -> Sequence[Any]:
    """Return maps as the rows of one table, if they are flat and have few different names."""
    columns = list(dict.fromkeys(name for each in maps for name in each))
    is_flat = not any(isinstance(item, dict | list | tuple) for each in maps for item in each.values())
    if not is_flat or not 0 < len(columns) <= COLUMNS_MAX:
        return maps
    return Table([[each.get(name, "") for name in columns] for each in maps], columns)
