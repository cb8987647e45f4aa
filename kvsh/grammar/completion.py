"""The words that fit at the cursor: known words, and the kind of names that may be looked up."""

from typing import NamedTuple

from kvd.commands import Command
from kvd.commands.server import Config, Info
from kvd.commands.syntax import Shape
from kvsh.grammar.aliases import NO_ALIASES, Aliases, expand
from kvsh.grammar.hints import same_case
from kvsh.grammar.line import sign_of
from kvsh.grammar.shell import Help
from kvsh.grammar.vocabulary import Mistake, lookup, vocabulary
from kvsh.grammar.walk import Walk
from kvsh.words import Unbalanced, Word, cut

# Kinds of names that are looked up: the command returns a map of them.
NAMED: dict[str | None, Command] = {"section": Info(), "option": Config()}


class Choice(NamedTuple):
    """A word that fits, and its description."""

    word: str
    about: str


class Place(NamedTuple):
    """The cursor's place: the word being typed, the known words that fit, and what else may be looked up.

    `kind` is a parameter's kind ("key", "prefix", "file", ...), the kind of a name, or None; `taken` are the words
    already given to the same parameter; `reserved` are words that have another meaning at this place unless they are
    quoted.
    """

    typed: Word
    choices: tuple[Choice, ...] = ()
    kind: str | None = None
    taken: frozenset[bytes] = frozenset()
    reserved: frozenset[bytes] = frozenset()


def place(line: bytes, aliases: Aliases = NO_ALIASES) -> Place:
    """Return the place at the end of a line, which may begin with an alias. Nothing fits where the line is wrong."""
    try:
        before, typed = cut(line)
        if not before:
            here = command_place(typed)
            return here._replace(choices=(*here.choices, *_own_names(typed, aliases)))
        whole = expand(line, aliases)
        here = _after_name(whole, *cut(whole))
    except Unbalanced:
        return Place(Word(b"", start=len(line), end=len(line)))
    shift = len(line) - len(whole)
    return here._replace(typed=here.typed._replace(start=here.typed.start + shift, end=here.typed.end + shift))


def _after_name(line: bytes, before: list[Word], typed: Word) -> Place:
    """Return the place after the name of a command."""
    if (sink := _sink_place(line, before, typed)) is not None:
        return sink
    try:
        return argument_place(before, typed)
    except Mistake:
        return Place(typed)


def _own_names(typed: Word, aliases: Aliases) -> tuple[Choice, ...]:
    """Return the aliases that fit the typed word."""
    names = [] if typed.quoted else [name for name in aliases if name.startswith(typed.value.upper())]
    return tuple(Choice(name.decode().lower(), aliases[name].decode()) for name in names)


def _sink_place(line: bytes, before: list[Word], typed: Word) -> Place | None:
    """Return the place of a redirection's target: a file after `>` or `>>`, nothing after `|`. None before these."""
    at = next((at for at, word in enumerate([*before, typed]) if at and sign_of(line, word)), None)
    if at is None:
        return None
    sign = sign_of(line, [*before, typed][at])
    if sign == b"|":
        return Place(typed)
    if at == len(before):  # no blank between the sign and the file
        name = typed._replace(value=typed.value[len(sign) :], start=typed.start + len(sign))
        return Place(name, kind="file")
    is_next = at == len(before) - 1 and before[at].value == sign
    return Place(typed, kind="file" if is_next else None)


def command_place(typed: Word) -> Place:
    """Return the place of a command's name."""
    return Place(typed, names(typed))


def names(typed: Word, *, within: bool = False) -> tuple[Choice, ...]:
    """Return the names that fit the typed word. `within` another command, words of the shell do not fit."""
    if typed.quoted:
        return ()
    start = typed.value.upper()
    known_names = {key: info for key, info in vocabulary().items() if not (within and info.syntax.access == "shell")}
    fitting = {key: info for key, info in known_names.items() if key.startswith(start)}
    return tuple(Choice(same_case(key.decode(), typed.value), info.syntax.summary) for key, info in fitting.items())


def topics(typed: Word, walk: Walk) -> tuple[Choice, ...]:
    """Return the topics of HELP that fit the typed word."""
    if typed.quoted or walk.info.command is not Help:
        return ()
    start = typed.value.upper().decode(errors="replace")
    return tuple(
        Choice(same_case(topic, typed.value), about) for topic, about in Help.topics.items() if topic.startswith(start)
    )


def argument_place(before: list[Word], typed: Word) -> Place:
    """Return the place of an argument. Raises Mistake when the words before it are wrong."""
    walk = Walk(lookup(before[0].value)).take_all(before[1:]).innermost
    kind, taken = _next_word(walk)
    options = () if typed.quoted else _option_choices(walk, typed)
    within = walk.place is not None and walk.place.shape is Shape.COMMAND
    choices = (*names(typed, within=within), *topics(typed, walk)) if kind == "command" else options
    reserved = frozenset(option.word.encode() for parameter in walk.syntax.parameters for option in parameter.options)
    return Place(typed, choices, kind, taken, reserved)


def _next_word(walk: Walk) -> tuple[str | None, frozenset[bytes]]:
    """Return the kind of the next word, and the words already given to the same parameter."""
    parameter = walk.waiting.parameter if walk.waiting else walk.place
    if parameter is None:
        return None, frozenset()
    given = walk.given.get(parameter.field)
    words = given.words if given else []
    if parameter.shape is Shape.PAIRS:
        return ("value" if len(words) % 2 else "key"), frozenset(word.value for word in words[::2])
    kind = parameter.field if parameter.kind == "name" else parameter.kind
    return kind, frozenset(word.value for word in words)


def _option_choices(walk: Walk, typed: Word) -> tuple[Choice, ...]:
    """Return the options that fit the typed word."""
    start = typed.value.upper().decode(errors="replace")
    fitting = [option for _, option in walk.options() if option.word.startswith(start)]
    return tuple(Choice(same_case(option.word, typed.value), option.placeholder or "") for option in fitting)
