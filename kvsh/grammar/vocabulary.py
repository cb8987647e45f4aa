"""Every name that may begin a line, with its syntax, and what was perhaps meant by one that may not."""

from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

from kvd.commands import COMMANDS, Command, Syntax, syntax_of
from kvd.commands.type_info import load_structs
from kvsh.grammar.foreign import ours_for
from kvsh.grammar.shell import SHELL_WORDS
from kvsh.words import quote

NAME_SHOWN_BYTES = 40


class Mistake(Exception):  # it is the person's, not ours
    """A line that is no command: a sentence, and the syntax if the command is known. `position` is the word's."""

    def __init__(self, message: str, usage: str | None = None, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.usage = usage
        self.position = position

    def __str__(self) -> str:
        """Return the sentence, and the syntax after it."""
        if not self.usage:
            return self.message
        return f"{self.message}{' The' if self.message.endswith('?') else '; the'} syntax is {self.usage}"


class CommandInfo(NamedTuple):
    """A name that may begin a line."""

    command: type[Command]
    syntax: Syntax


@cache
def classes() -> dict[bytes, type[Command]]:
    """Return the class of each name in upper case."""
    return {command.command_name().encode(): command for command in (*COMMANDS.values(), *SHELL_WORDS)}


@cache
def info_of(command: type[Command]) -> CommandInfo:
    """Return a class and its syntax; what only the shell knows has an access of its own."""
    syntax = syntax_of(command)
    return CommandInfo(command, syntax._replace(access="shell") if command in SHELL_WORDS else syntax)


@cache
def vocabulary() -> dict[bytes, CommandInfo]:
    """Return all names in upper case that can be typed: those whose every needed argument is a word."""
    load_structs(classes().values())
    every = {name: info_of(command) for name, command in classes().items()}
    return {name: known for name, known in every.items() if _is_typed(known.syntax)}


@cache
def usage_lines() -> dict[bytes, CommandInfo]:
    """Return all names that HELP explains: those that can be typed, and TRANSACTION, which BEGIN and COMMIT type."""
    return {name: info_of(command) for name, command in classes().items()}


def _is_typed(syntax: Syntax) -> bool:
    """Return whether a command can be told in words; a structure cannot."""
    return all(parameter.shape.value != "structure" for parameter in syntax.parameters)


def lookup(name: bytes, position: int = 0) -> CommandInfo:
    """Return what a name in any case means; raises Mistake with what was perhaps meant."""
    command = classes().get(name) or classes().get(name.upper())
    if command is None or not _is_typed((known := info_of(command)).syntax):
        raise Mistake(f"there is no command {name_shown(name)}{advice(name)}", position=position)
    return known


def advice(name: bytes) -> str:
    """Return what to use in place of an unknown word."""
    if name.isdigit():
        return ": a count repeats a command at the prompt only"
    ours = ours_for(name)
    return f": use {ours}" if ours else did_you_mean(name)


def name_shown(name: bytes) -> str:
    """Return an unknown word for a message: short, and with nothing in it that acts on a terminal."""
    text = quote(name[:NAME_SHOWN_BYTES])
    return f"{text[:-1]}..." + text[-1] if len(name) > NAME_SHOWN_BYTES else text


def did_you_mean(name: bytes, choices: tuple[str, ...] | None = None) -> str:
    """Return `: did you mean SET?` or where to look."""
    names = choices if choices is not None else tuple(key.decode() for key in vocabulary())
    is_short = len(name) <= NAME_SHOWN_BYTES  # to compare 100 MB takes 40 s
    close = get_close_matches(name.upper().decode(errors="replace"), names, n=2, cutoff=0.6) if is_short else []
    if close:
        return f": did you mean {' or '.join(close)}?"
    return "" if choices is not None else ": HELP lists them"
