"""The names that may begin a line, with their syntax, and suggestions for unknown names."""

from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

from kvd.commands import COMMANDS, Command, Syntax, syntax_of
from kvd.commands.type_info import load_structs
from kvsh.grammar.foreign import ours_for
from kvsh.grammar.shell import SHELL_WORDS
from kvsh.words import quote

NAME_SHOWN_BYTES = 40


class Mistake(Exception):  # the user's, not a defect
    """A line is not a valid command: a sentence, the syntax if the command is known, and the position of the word."""

    def __init__(self, message: str, usage: str | None = None, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.usage = usage
        self.position = position

    def __str__(self) -> str:
        """Return the sentence, followed by the syntax."""
        if not self.usage:
            return self.message
        return f"{self.message}{' The' if self.message.endswith('?') else '; the'} syntax is {self.usage}"


class CommandInfo(NamedTuple):
    """A command class and its syntax."""

    command: type[Command]
    syntax: Syntax


@cache
def classes() -> dict[bytes, type[Command]]:
    """Return the command classes by name in upper case."""
    return {command.command_name().encode(): command for command in (*COMMANDS.values(), *SHELL_WORDS)}


@cache
def info_of(command: type[Command]) -> CommandInfo:
    """Return a class and its syntax. Words of the shell have the access "shell"."""
    syntax = syntax_of(command)
    return CommandInfo(command, syntax._replace(access="shell") if command in SHELL_WORDS else syntax)


@cache
def vocabulary() -> dict[bytes, CommandInfo]:
    """Return the names that can be typed, in upper case: every required argument is a word."""
    load_structs(classes().values())
    every = {name: info_of(command) for name, command in classes().items()}
    return {name: info for name, info in every.items() if _is_typed(info.syntax)}


@cache
def usage_lines() -> dict[bytes, CommandInfo]:
    """Return the names that HELP explains: those that can be typed, and TRANSACTION, typed as BEGIN ... COMMIT."""
    return {name: info_of(command) for name, command in classes().items()}


def _is_typed(syntax: Syntax) -> bool:
    """Return whether a command can be typed as words; a structure cannot."""
    return all(parameter.shape.value != "structure" for parameter in syntax.parameters)


def lookup(name: bytes, position: int = 0) -> CommandInfo:
    """Return the command of a name in any case. Raises Mistake, with a suggestion."""
    command = classes().get(name) or classes().get(name.upper())
    if command is None or not _is_typed((info := info_of(command)).syntax):
        raise Mistake(f"there is no command {name_shown(name)}{advice(name)}", position=position)
    return info


def advice(name: bytes) -> str:
    """Return the end of the message about an unknown word: what to use instead."""
    if name.isdigit():
        return ": a count repeats a command at the prompt only"
    ours = ours_for(name)
    return f": use {ours}" if ours else did_you_mean(name)


def name_shown(name: bytes) -> str:
    """Return an unknown word for a message: short, and with no effect on a terminal."""
    text = quote(name[:NAME_SHOWN_BYTES])
    return f"{text[:-1]}..." + text[-1] if len(name) > NAME_SHOWN_BYTES else text


def did_you_mean(name: bytes, choices: tuple[str, ...] | None = None) -> str:
    """Return `: did you mean SET?`, or where to find the names."""
    names = choices if choices is not None else tuple(key.decode() for key in vocabulary())
    is_short = len(name) <= NAME_SHOWN_BYTES  # a comparison of 100 MB takes 40 s
    close = get_close_matches(name.upper().decode(errors="replace"), names, n=2, cutoff=0.6) if is_short else []
    if close:
        return f": did you mean {' or '.join(close)}?"
    return "" if choices is not None else ": HELP lists them"
