"""What may stand where the cursor is: the known words that fit, and what kind of thing may be looked up."""

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

# Kinds of names that are looked up: a command returns a map of them.
NAMED: dict[str | None, Command] = {"section": Info(), "option": Config()}


class Choice(NamedTuple):
    """A word that fits, and what it is."""

    word: str
    about: str


class Place(NamedTuple):
    """Where the cursor is: the word being typed, the known words that begin so, and what else may be looked up.

    `kind` is a parameter's kind ("key", "prefix", "file", ...), of a name what it names, or None; `taken` are the
    words already given to the same parameter; `reserved` are words that would mean something else there, bare.
    """

    typed: Word
    choices: tuple[Choice, ...] = ()
    kind: str | None = None
    taken: frozenset[bytes] = frozenset()
    reserved: frozenset[bytes] = frozenset()


def place(line: bytes, aliases: Aliases = NO_ALIASES) -> Place:
    """Return the place at the end of a line, which may begin with an alias; where the line is wrong nothing fits."""
    try:
        before, typed = cut(line)
        if not before:
            found = command_place(typed)
            return found._replace(choices=(*found.choices, *_own_names(typed, aliases)))
        whole = expand(line, aliases)
        found = _after_name(whole, *cut(whole))
    except Unbalanced:
        return Place(Word(b"", start=len(line), end=len(line)))
    shift = len(line) - len(whole)
    return found._replace(typed=found.typed._replace(start=found.typed.start + shift, end=found.typed.end + shift))


def _after_name(line: bytes, before: list[Word], typed: Word) -> Place:
    """Return the place behind the name of a command."""
    if (sink := _sink_place(line, before, typed)) is not None:
        return sink
    try:
        return argument_place(before, typed)
    except Mistake:
        return Place(typed)


def _own_names(typed: Word, aliases: Aliases) -> tuple[Choice, ...]:
    """Return the aliases that begin as the typed word does."""
    names = [] if typed.quoted else [name for name in aliases if name.startswith(typed.value.upper())]
    return tuple(Choice(name.decode().lower(), aliases[name].decode()) for name in names)


def _sink_place(line: bytes, before: list[Word], typed: Word) -> Place | None:
    """Return the place where a result goes: a file after `>` or `>>`, nothing of ours after `|`. None before these."""
    at = next((at for at, word in enumerate([*before, typed]) if at and sign_of(line, word)), None)
    if at is None:
        return None
    sign = sign_of(line, [*before, typed][at])
    if sign == b"|":
        return Place(typed)
    if at == len(before):  # the file follows its sign without a blank
        name = typed._replace(value=typed.value[len(sign) :], start=typed.start + len(sign))
        return Place(name, kind="file")
    is_next = at == len(before) - 1 and before[at].value == sign
    return Place(typed, kind="file" if is_next else None)


def command_place(typed: Word) -> Place:
    """Return the place of a command's name."""
    return Place(typed, names(typed))


def names(typed: Word, *, within: bool = False) -> tuple[Choice, ...]:
    """Return the names that begin as the typed word does; `within` another command none that only the shell knows."""
    if typed.quoted:
        return ()
    start = typed.value.upper()
    known_names = {key: known for key, known in vocabulary().items() if not (within and known.syntax.access == "shell")}
    found = {key: known for key, known in known_names.items() if key.startswith(start)}
    return tuple(Choice(same_case(key.decode(), typed.value), known.syntax.summary) for key, known in found.items())


def topics(typed: Word, walk: Walk) -> tuple[Choice, ...]:
    """Return the topics of HELP that begin as the typed word does."""
    if typed.quoted or walk.known.command is not Help:
        return ()
    start = typed.value.upper().decode(errors="replace")
    return tuple(
        Choice(same_case(topic, typed.value), about) for topic, about in Help.topics.items() if topic.startswith(start)
    )


def argument_place(before: list[Word], typed: Word) -> Place:
    """Return the place of an argument; raises Mistake when the words before it are wrong."""
    walk = Walk(lookup(before[0].value)).take_all(before[1:]).innermost
    kind, taken = _expected_place(walk)
    options = () if typed.quoted else _option_choices(walk, typed)
    within = walk.place is not None and walk.place.shape is Shape.COMMAND
    choices = (*names(typed, within=within), *topics(typed, walk)) if kind == "command" else options
    reserved = frozenset(option.word.encode() for parameter in walk.syntax.parameters for option in parameter.options)
    return Place(typed, choices, kind, taken, reserved)


def _expected_place(walk: Walk) -> tuple[str | None, frozenset[bytes]]:
    """Return the kind of word that may come next, and those of the same parameter that are there."""
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
    """Return the options that begin as the typed word does."""
    start = typed.value.upper().decode(errors="replace")
    found = [option for _, option in walk.options() if option.word.startswith(start)]
    return tuple(Choice(same_case(option.word, typed.value), option.placeholder or "") for option in found)
