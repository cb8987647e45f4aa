"""Results for reading: values in quotes that paste back, numbered lists, aligned rows. Nothing acts on a terminal."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from kvd.commands import Command
from kvsh.render.figures import figure_text
from kvsh.render.result import display_result
from kvsh.render.tables import Table, name_columns
from kvsh.words import display_form, quote, quote_pieces


def terminal(command: Command, result: Any) -> bytes:
    """Return a result for reading, with its last newline."""
    value = name_columns(command, display_result(command, result))
    if command.result_unit == "ms" and isinstance(value, int) and value >= 0:
        return f"{value / 1000:.15g} s\n".encode()
    return ("\n".join(lines(value)) + "\n").encode()


def terminal_pieces(command: Command, result: Any) -> Iterator[bytes]:
    """Yield the text that `terminal` returns in pieces, so the beginning of a long result is available at once."""
    value = display_result(command, result)
    if isinstance(value, bytes):
        yield from _line_pieces("", value)
    elif isinstance(value, list | tuple) and value and not any(map(_is_nested, value)):
        width = len(str(len(value)))
        for number, item in enumerate(value, 1):
            yield from _line_pieces(f"{number:>{width}}) ", item)
    elif isinstance(value, dict) and value and not any(map(_is_nested, value.values())):
        titles = [display_form(str(name).encode()) for name in value]
        width = max(len(str(name)) for name in value)
        for title, (name, item) in zip(titles, value.items(), strict=True):
            yield from _line_pieces(f"{title:<{width}}  ", item, text=partial(named_cell, name))
    else:
        yield terminal(command, result)


def _line_pieces(label: str, value: Any, text: Callable[[Any], str] | None = None) -> Iterator[bytes]:
    """Yield a line of one value after a label."""
    yield label.encode()
    if isinstance(value, bytes):
        yield from map(str.encode, quote_pieces(value))
    else:
        yield (text or _scalar)(value).encode()
    yield b"\n"


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list | tuple)


def lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return _map_lines(value)
    if isinstance(value, list | tuple):
        return _list_lines(value)
    return [_scalar(value)]


def _scalar(value: Any) -> str:
    """Return a single value. `(integer)` distinguishes an integer from a text of digits."""
    return f"(integer) {value}" if type(value) is int else cell(value)


def cell(value: Any) -> str:
    """Return one value among others."""
    if value is None:
        return "(nil)"
    if isinstance(value, bytes):
        return quote(value)
    return display_form(str(value).encode()) if not isinstance(value, bool) else str(value).lower()


def named_cell(name: Any, value: Any) -> str:
    """Return one value of a map; times and durations are in units for people."""
    return figure_text(str(name), value) or cell(value)


def _list_lines(values: list[Any] | tuple[Any, ...]) -> list[str]:
    """Return a numbered list. Rows have aligned columns."""
    if not values:
        return ["(empty)"]
    columns = values.columns if isinstance(values, Table) else ()
    texts = _align(values, columns) if is_table(values) else []
    blocks = [[text] for text in texts[bool(columns) :]] or [lines(value) for value in values]
    width = len(str(len(blocks)))
    head = [" " * (width + len(") ")) + texts[0]] if columns else []
    return [
        *head,
        *(line for number, block in enumerate(blocks, 1) for line in _label_block(f"{number:>{width}}) ", block)),
    ]


def _label_block(label: str, block: list[str]) -> list[str]:
    """Return lines with a label before the first; the others are indented."""
    return [label + block[0], *(" " * len(label) + line for line in block[1:])]


def is_table(values: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether all values are flat rows of the same length."""
    if not all(isinstance(row, list | tuple) and row for row in values):
        return False
    return len({len(row) for row in values}) == 1 and not any(
        isinstance(item, list | tuple | dict) for row in values for item in row
    )


def _align(rows: list[Any] | tuple[Any, ...], columns: Sequence[str] = ()) -> list[str]:
    """Return rows with aligned columns, below the names of the columns if they have any."""
    names = columns or [""] * len(rows[0])
    texts = [[named_cell(name, item) for name, item in zip(names, row, strict=True)] for row in rows]
    cells = [[*columns], *texts] if columns else texts
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _map_lines(value: dict[Any, Any]) -> list[str]:
    """Return a map: names and values in two columns, nested maps indented."""
    if not value:
        return ["(empty)"]
    plain = [len(str(name)) for name, item in value.items() if not isinstance(item, dict | list | tuple)]
    width = max(plain, default=0)
    shown: list[str] = []
    for name, item in value.items():
        title = display_form(str(name).encode())
        if isinstance(item, dict | list | tuple) and item:
            shown += [title, *(f"  {line}" for line in lines(item))]
        else:
            shown.append(f"{title:<{width}}  {named_cell(name, item) if not _is_nested(item) else '(empty)'}")
    return shown
