"""Words put to a command's syntax, one by one: the one place that knows how a line is read.

Parsing, hints and completion all ask a `Walk`: it takes words, tells what may come next, and what is missing.

A word is the keyword of an option if it is not quoted, equals it in any case, and no positional argument is
needed where it stands; everywhere else it is data. So `SET limit 5` sets `limit`, `SCAN LIMIT 5` limits, and
`SCAN "LIMIT" LIMIT 5` scans a prefix.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kvd.commands import Syntax
from kvd.commands.fields import Option
from kvd.commands.syntax import Parameter, Shape, group_text
from kvsh.grammar.foreign import option_for
from kvsh.grammar.vocabulary import CommandInfo, Mistake, did_you_mean, lookup, name_shown
from kvsh.words import Word


class Given(NamedTuple):
    """The words given to a parameter, and the option that told so (None: its place did)."""

    parameter: Parameter
    option: Option | None
    words: list[Word]


class Walk:
    """A command on its way through the words. `given` tells by field what it has."""

    def __init__(self, known: CommandInfo) -> None:
        self.known = known
        self.syntax: Syntax = known.syntax
        self.given: dict[str, Given] = {}
        self.inner: Walk | None = None
        self.waiting: Given | None = None
        self._places = [parameter for parameter in self.syntax.parameters if parameter.is_positional]
        self._place = 0
        self._pairs: Given | None = None

    @property
    def place(self) -> Parameter | None:
        """Return the positional parameter that the next word could be."""
        return self._places[self._place] if self._place < len(self._places) else None

    @property
    def innermost(self) -> "Walk":
        """Return the walk that takes the next word: this one, or that of the command within."""
        return self.inner.innermost if self.inner else self

    def take_all(self, words: Sequence[Word]) -> "Walk":
        """Take words; raises Mistake at the first that fits nowhere."""
        for word in words:
            self.take(word)
        return self

    def take(self, word: Word) -> None:
        """Take the next word; raises Mistake when it fits nowhere."""
        if self.inner:
            self.inner.take(word)
        elif self.waiting:
            self._take_argument(self.waiting, word)
        elif not word.quoted and not self.needs_word() and (choice := self._keyword(word.value)):
            self._take_option(*choice, word)
        elif (parameter := self.place) is not None:
            self._take_positional(parameter, word)
        else:
            raise self._refuse_word(word)

    def needs_word(self) -> bool:
        """Return whether what stands next can be nothing but a word of its own."""
        if self.waiting or self._half_pair():
            return True
        parameter = self.place
        return parameter is not None and parameter.required and parameter.field not in self.given

    def options(self) -> list[tuple[Parameter, Option]]:
        """Return the options that may come next."""
        if self.needs_word() or self.inner:
            return []
        open_groups = [group for group in self.syntax.groups if not any(each.field in self.given for each in group)]
        return [(parameter, option) for group in open_groups for parameter in group for option in parameter.options]

    def first_missing(self) -> str | None:
        """Return what is still needed, or None when this is a whole command (but for the one within)."""
        if self.waiting and not (self.waiting.words and not odd(self.waiting)):
            assert self.waiting.option
            return f"the {self._next_of(self.waiting)} after {self.waiting.option.word}"
        if half := self._half_pair():
            return f"the {self._next_of(half)} of the last pair"
        lacking = [each.placeholder for each in self._places if each.required and each.field not in self.given]
        return f"the {lacking[0]}" if lacking else None

    def parameters_left(self) -> str:
        """Return what may still be typed, as a syntax line shows it."""
        if self.inner:
            return self.inner.parameters_left()
        parts = self._start_inner() + [group_text(group) for group in self.syntax.groups if self._is_open(group)]
        return " ".join(parts)

    def _keyword(self, value: bytes) -> tuple[Parameter, Option] | None:
        """Return the option that a word names."""
        name = value.upper()
        for parameter in self.syntax.parameters:
            for option in parameter.options:
                if option.word.encode() == name:
                    return parameter, option
        return None

    def _take_option(self, parameter: Parameter, option: Option, word: Word) -> None:
        """Begin an option, unless it was given or another excludes it."""
        group = next(group for group in self.syntax.groups if parameter in group)
        for before in (self.given[each.field] for each in group if each.field in self.given):
            assert before.option
            same = before.option.word == option.word
            sentence = (
                f"{option.word} is given twice"
                if same
                else f"{before.option.word} and {option.word} exclude each other"
            )
            raise Mistake(f"{self.syntax.name}: {sentence}", self.syntax.usage(), word.start)
        given = self._begin(parameter, option)
        self.waiting = given if option.placeholder else None
        if self.place and self.place.field in self.given:  # an option ends what takes many words
            self._place += 1

    def _take_argument(self, given: Given, word: Word) -> None:
        """Take an option's argument; one that takes pairs takes all the rest."""
        given.words.append(word)
        if given.parameter.shape is Shape.ONE:
            self.waiting = None

    def _take_positional(self, parameter: Parameter, word: Word) -> None:
        """Take a word by its place."""
        if parameter.shape is Shape.COMMAND:
            self.inner = Walk(lookup(word.value, word.start))
        given = self.given.get(parameter.field)
        if given is None:
            given = self._begin(parameter, None)
        given.words.append(word)
        if parameter.shape is Shape.ONE:
            self._place += 1

    def _begin(self, parameter: Parameter, option: Option | None) -> Given:
        """Note that a parameter is given."""
        given = self.given[parameter.field] = Given(parameter, option, [])
        if parameter.shape is Shape.PAIRS:
            self._pairs = given
        return given

    def _refuse_word(self, word: Word) -> Mistake:
        """Return the mistake of a word that fits nowhere."""
        choices = tuple(option.word for _, option in self.options())
        ours = None if word.quoted else option_for(word.value)
        hint = f": use {ours}" if ours else did_you_mean(word.value, choices) if choices else ""
        if any(each.value == b"--" and not each.quoted for given in self.given.values() for each in given.words):
            hint = ': "--" is an argument here, and a word that begins with - needs none before it'
        return Mistake(
            f"{self.syntax.name} has no place for {name_shown(word.value)}{hint}", self.syntax.usage(), word.start
        )

    def _half_pair(self) -> Given | None:
        """Return the pairs whose last has only its first word."""
        return self._pairs if self._pairs is not None and odd(self._pairs) else None

    def _next_of(self, given: Given) -> str:
        """Return what the next word of a parameter is called."""
        names = ((given.option.placeholder if given.option else given.parameter.placeholder) or "").rstrip(".")
        return names.split()[odd(given)] if given.parameter.shape is Shape.PAIRS else names

    def _start_inner(self) -> list[str]:
        """Return how what has begun goes on."""
        parts = [self._next_of(half)] if (half := self._half_pair()) else []
        if self.waiting and self.waiting.parameter.shape is Shape.ONE:
            parts.append(self._next_of(self.waiting))
        elif self.waiting and not half:
            assert self.waiting.option
            parts.append(
                f"[{self.waiting.option.placeholder}]" if self.waiting.words else f"{self.waiting.option.placeholder}"
            )
        elif not self.waiting and self.place and self.place.field in self.given:
            parts.append(f"[{self.place.text()}]")
        return parts

    def _is_open(self, group: tuple[Parameter, ...]) -> bool:
        """Return whether a group is still to come, in the order in which words are taken."""
        first = group[0]
        if self.waiting and self.waiting.parameter.shape is not Shape.ONE:
            return False
        if first.is_positional and first not in self._places[self._place :]:
            return False
        return not any(parameter.field in self.given for parameter in group)


def odd(given: Given) -> bool:
    """Return whether the last pair has only its first word."""
    return len(given.words) % 2 == 1
