"""The manual page kvd-commands(7), made of the command classes: `python -m kvd.commands.manual >man/kvd-commands.7`.

All it says is in the classes: docstring, fields, examples, and what the docstring of `run` says that it returns.
"""

import re
import sys
from collections.abc import Iterator
from typing import get_type_hints

from kvd.commands import COMMANDS, FAMILIES
from kvd.commands.base import Command
from kvd.commands.syntax import Parameter, Shape, Syntax, syntax_of

DATE = "November 30, 2026"  # when the text below, or a command, was last changed

HEAD = r"""
.\" Made by `python -m kvd.commands.manual >man/kvd-commands.7`: change the command classes, not this file.
.Dd {date}
.Dt KVD-COMMANDS 7
.Os kvd
.Sh NAME
.Nm kvd-commands
.Nd the commands of kvd, one by one
.Sh DESCRIPTION
What
.Xr kvd 8
can be asked, in the words of
.Xr kvsh 1 ;
.Ql kvsh help set
shows the same.
Of what stands in brackets each may be left out, and of what a bar divides one may be given.
Durations at the shell are seconds, unless it says ms.
.Pp
.Em On the wire
is the command as a msgpack array, see
.Xr kvd-protocol 7 .
Fields with a question mark may be nil, or left out at the end.
Keys, prefixes, values and tokens are bin, names are str, durations and times are milliseconds, a condition is
.Ql [key, revision] .
.Pp
.Em Result
is what the reply carries.
.Em Needs
is the role that a client must have, where the daemon has keys: read, write (which may read) or admin (which may all).
.Pp
Besides the errors that an entry tells of, any command may be refused with
.Li BAD_ARGUMENT , TOO_LARGE , DENIED , BUSY
or
.Li SHUTTING_DOWN ;
what reads entries with
.Li CORRUPT ;
what writes with
.Li FULL , READ_ONLY
or
.Li INTERNAL .
""".lstrip()

TAIL = """
.Sh SEE ALSO
.Xr kvsh 1 ,
.Xr kvd-protocol 7 ,
.Xr kvd 8
""".lstrip()

# What BEGIN, commands and COMMIT are in the shell is one command on the wire.
AT_THE_SHELL = """
At the shell it is
.Ic BEGIN ,
the commands and
.Ic COMMIT .
""".strip()

# What the result is on the wire, by what `run` returns; of anything else the words alone tell.
TYPES: dict[object, str] = {
    bytes: "bin: ",
    bytes | None: "bin or nil: ",
    int: "int: ",
    int | None: "int or nil: ",
    list[bytes | None]: "array of bin or nil: ",
}


def page() -> str:
    """Return the page, as mdoc."""
    return "\n".join(lines()) + "\n"


def lines() -> Iterator[str]:
    """Yield the page's lines."""
    yield from HEAD.format(date=DATE).splitlines()
    for family in FAMILIES:
        sentence = (family.__doc__ or "").partition(": ")[2].partition("\n")[0]
        yield from (f".Sh {family.__name__.rpartition('.')[2].upper()}", text(sentence.capitalize()))
        for command in COMMANDS.values():
            if command.__module__ == family.__name__:
                yield from entry(command)
    yield from TAIL.splitlines()


def entry(command: type[Command]) -> Iterator[str]:
    """Yield what the page says of one command."""
    syntax = syntax_of(command)
    is_typed = Shape.STRUCTURE not in {parameter.shape for parameter in syntax.parameters}
    yield f".Ss {syntax.name}"
    if is_typed:
        yield from literal([syntax.usage()])
    yield from paragraphs(syntax.help)
    if not is_typed:
        yield from (".Pp", *AT_THE_SHELL.splitlines())
    yield from (".Pp", '.Bl -tag -width "On the wire" -compact')
    yield from (".It Em On the wire", text(wire_form(syntax)))
    yield from (".It Em Result", text(result_of(command)))
    yield from (".It Em Needs", text(command.role), ".El")
    yield from (".Pp", *literal(list(syntax.examples)))


def wire_form(syntax: Syntax) -> str:
    """Return the array: `["SET", key, value, ttl?, ...]`."""
    return "[" + ", ".join([f'"{syntax.name}"', *map(field_form, syntax.parameters)]) + "]"


def field_form(parameter: Parameter) -> str:
    """Return how a field looks in the array."""
    forms = {
        Shape.MANY: f"[{parameter.kind}, ...]",
        Shape.PAIRS: "[[key, value], ...]",
        Shape.STRUCTURE: f"[{parameter.field.removesuffix('s')}, ...]",
    }
    return forms.get(parameter.shape, parameter.field) + ("" if parameter.required else "?")


def result_of(command: type[Command]) -> str:
    """Return what `run` returns: its type on the wire, and what its docstring says."""
    run = vars(command)["run"]
    found = re.search(r"\b[Rr]eturn ([^;]*)[;.]", run.__doc__)
    return TYPES.get(get_type_hints(run)["return"], "") + found[1] if found else "nil"


def paragraphs(help_text: str) -> Iterator[str]:
    """Yield the help, a line for each sentence's end, as mdoc wants it."""
    for number, paragraph in enumerate(help_text.split("\n\n")):
        if number:
            yield ".Pp"
        yield from map(text, re.split(r"(?<=[.;:]) (?=[A-Z(])", " ".join(paragraph.split())))


def literal(shown: list[str]) -> Iterator[str]:
    """Yield lines shown as they are."""
    yield ".Bd -literal -offset indent -compact"
    yield from map(text, shown)
    yield ".Ed"


def text(shown: str) -> str:
    """Return a line of text that mdoc shows as it is."""
    escaped = shown.replace("\\", r"\e").replace('"', r"\(dq").replace("-", r"\-")
    escaped = re.sub("`(.*?)`", r"\\(oq\1\\(cq", escaped)
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(page())
