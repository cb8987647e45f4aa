"""A line to a command, and a command to its line. Sentences about a wrong line come from here and from `walk.py`."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import asdict

from kvd.commands import Command, Syntax
from kvd.commands.base import is_given
from kvd.commands.diagnosis import Fault, Inside, Problem, first_fault
from kvd.commands.fields import Option
from kvd.commands.syntax import Parameter, Shape
from kvd.commands.type_info import struct_of
from kvsh.grammar.vocabulary import CommandInfo, Mistake, info_of, lookup, name_shown
from kvsh.grammar.walk import Given, Walk
from kvsh.words import Unbalanced, Word, as_word, split

INTEGER = re.compile(rb"[+-]?[0-9]{1,30}")
DECIMAL = re.compile(rb"[+-]?(?=\.?[0-9])[0-9]{0,30}(\.[0-9]{0,30})?")
UNITS = {bytes: " bytes", str: " characters", list: " items", int: ""}


def parse(line: bytes) -> Command:
    """Return the command of a line. Raises Mistake, also when its quotes do not balance."""
    try:
        words = split(line)
    except Unbalanced as error:
        raise Mistake(str(error), position=error.position) from None
    return command_of(words)


def command_of(words: Sequence[Word]) -> Command:
    """Return the command of words. Raises Mistake."""
    if not words:
        raise Mistake("there is no command: HELP lists them")
    info = lookup(words[0].value, words[0].start)
    return build(Walk(info).take_all(words[1:]), words[-1].end)


def build(walk: Walk, end: int) -> Command:
    """Return the command of a finished walk. Raises Mistake when an argument is missing or out of bounds."""
    if missing := walk.first_missing():
        raise Mistake(f"{walk.syntax.name} needs {missing}", walk.syntax.usage(), end)
    given = walk.given
    values = [
        argument(walk, given[each.field], end) if each.field in given else None for each in walk.syntax.parameters
    ]
    return convert(walk.info, values)


def argument(walk: Walk, given: Given, end: int) -> Any:
    """Return the value of a parameter in its wire form."""
    match given.parameter.shape:
        case Shape.ONE:
            return _scalar(walk.syntax, given, given.words[0])
        case Shape.FLAG:
            return True
        case Shape.MANY:
            return [word.value for word in given.words]
        case Shape.PAIRS:
            return [(one.value, two.value) for one, two in zip(given.words[::2], given.words[1::2], strict=True)]
        case _:
            assert walk.inner  # a structure is never typed
            return build(walk.inner, end)


def _scalar(syntax: Syntax, given: Given, word: Word) -> bytes | str | int:
    """Return one word as its parameter's type. Raises Mistake."""
    if given.parameter.scalar is bytes:
        return word.value
    if given.parameter.scalar is str:
        return word.value.decode(errors="replace")
    scale = given.option.scale if given.option else given.parameter.scale
    number = scale_number(word.value, scale)
    if number is None:
        kind = "a number" if scale > 1 else "an integer"
        raise Mistake(
            f"{syntax.name}: {title(given.parameter, given.option)} is {kind}, not {name_shown(word.value)}",
            syntax.usage(),
            word.start,
        )
    return number


def scale_number(text: bytes, scale: int) -> int | None:
    """Return a number in wire units, or None. With a scale, digits beyond a wire unit are cut off."""
    if scale == 1:
        return int(text) if INTEGER.fullmatch(text) else None
    return int(Decimal(text.decode()) * scale) if DECIMAL.fullmatch(text) else None


def title(parameter: Parameter, option: Option | None) -> str:
    """Return the name of a parameter for messages."""
    return option.word if option else parameter.placeholder


def convert(info: CommandInfo, values: list[Any]) -> Command:
    """Return the command of these values. Raises Mistake when one is out of bounds."""
    try:
        return msgspec.convert([info.syntax.name, *values], info.command)
    except msgspec.ValidationError:
        raise Mistake(_explain(info, values), info.syntax.usage()) from None


def _explain(info: CommandInfo, values: list[Any]) -> str:
    """Return the sentence for the value that is out of bounds."""
    syntax = info.syntax
    problem = first_fault([syntax.name, *values], struct_of(info.command))
    assert isinstance(problem, Inside)  # msgspec has rejected them
    fault = problem.fault
    assert isinstance(fault, Fault)  # a command inside was checked before it
    if fault.problem is Problem.CHOICE:
        return f"{syntax.name} cannot run {fault.got}"
    parameter = syntax.parameters[int(fault.path[0]) - 1]
    name = parameter.options[0].word if parameter.options else parameter.placeholder
    is_least = fault.problem is Problem.MIN
    if fault.expected is bytes and is_least and fault.bound == 1:
        return f"{syntax.name}: a {name} cannot be empty"
    scale = parameter.options[0].scale if parameter.options else parameter.scale
    limit = f"{fault.bound / scale:.15g}" if scale > 1 else fault.bound
    return f"{syntax.name}: {name} has to be at {'least' if is_least else 'most'} {limit}{UNITS[fault.expected]}"


def line_of(command: Command) -> str:
    """Return the line that parses to an equal command. Commands with a structure have no line."""
    syntax = info_of(type(command)).syntax
    values = asdict(command)
    reserved = frozenset(option.word.encode() for parameter in syntax.parameters for option in parameter.options)
    parts = [_text_of(parameter, values[parameter.field], reserved) for parameter in syntax.parameters]
    return " ".join([syntax.name, *filter(None, parts)])


def _text_of(parameter: Parameter, value: Any, reserved: frozenset[bytes]) -> str:
    """Return a parameter as it is typed; an absent one is empty."""
    if not is_given(value):
        return ""
    if parameter.options:
        option = min(parameter.options, key=lambda option: option.scale)
        return " ".join([option.word, *_words_of(value, reserved)]) if option.placeholder else option.word
    return " ".join(_words_of(_number_text(value, parameter.scale), reserved))


def _number_text(value: Any, scale: int) -> Any:
    """Return a number in the unit in which it is typed."""
    return str(Decimal(value) / scale) if scale > 1 else value


def _words_of(value: Any, reserved: frozenset[bytes]) -> list[str]:
    if isinstance(value, Command):
        return [line_of(value)]
    if isinstance(value, list | tuple):
        return [word for item in value for word in _words_of(item, reserved)]
    return [as_word(value if isinstance(value, bytes) else str(value).encode(), reserved)]
