"""Matches words with a command's syntax, one by one: the only place that reads the words of a line.

Parsing, hints and completion all use a `Walk`: it takes words, and reports what may follow and what is missing.

A word is the keyword of an option if it is not quoted, equals the keyword in any case, and no positional argument is
required at its place; everywhere else it is data. So `SET limit 5` sets `limit`, `SCAN LIMIT 5` limits, and `SCAN
"LIMIT" LIMIT 5` scans a prefix.
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
    """The words given to a parameter. `option` is None for a positional parameter."""

    parameter: Parameter
    option: Option | None
    words: list[Word]


class Walk:
    """The state of a command while its words are read. `given` has the words by field."""

    def __init__(self, info: CommandInfo) -> None:
        self.info = info
        self.syntax: Syntax = info.syntax
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
        """Return the walk that takes the next word: this one, or that of the nested command."""
        return self.inner.innermost if self.inner else self

    def take_all(self, words: Sequence[Word]) -> "Walk":
        """Take words. Raises Mistake at the first that fits nowhere."""
        for word in words:
            self.take(word)
        return self

    def take(self, word: Word) -> None:
        """Take the next word. Raises Mistake when it fits nowhere."""
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
        """Return whether the next word is an argument and cannot be a keyword."""
        if self.waiting or self._half_pair():
            return True
        parameter = self.place
        return parameter is not None and parameter.required and parameter.field not in self.given

    def options(self) -> list[tuple[Parameter, Option]]:
        """Return the options that may follow."""
        if self.needs_word() or self.inner:
            return []
        open_groups = [group for group in self.syntax.groups if not any(each.field in self.given for each in group)]
        return [(parameter, option) for group in open_groups for parameter in group for option in parameter.options]

    def first_missing(self) -> str | None:
        """Return the first missing argument, or None if the command is complete (apart from a nested one)."""
        if self.waiting and not (self.waiting.words and not odd(self.waiting)):
            assert self.waiting.option
            return f"the {self._next_of(self.waiting)} after {self.waiting.option.word}"
        if half := self._half_pair():
            return f"the {self._next_of(half)} of the last pair"
        missing = [each.placeholder for each in self._places if each.required and each.field not in self.given]
        return f"the {missing[0]}" if missing else None

    def parameters_left(self) -> str:
        """Return the rest of the syntax line."""
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
        """Begin an option. Raises Mistake when it was given before or another one excludes it."""
        group = next(group for group in self.syntax.groups if parameter in group)
        for before in (self.given[each.field] for each in group if each.field in self.given):
            assert before.option
            is_repeated = before.option.word == option.word
            sentence = (
                f"{option.word} is given twice"
                if is_repeated
                else f"{before.option.word} and {option.word} exclude each other"
            )
            raise Mistake(f"{self.syntax.name}: {sentence}", self.syntax.usage(), word.start)
        given = self._begin(parameter, option)
        self.waiting = given if option.placeholder else None
        if self.place and self.place.field in self.given:  # an option ends what takes many words
            self._place += 1

    def _take_argument(self, given: Given, word: Word) -> None:
        """Take an option's argument. An option with pairs takes all following words."""
        given.words.append(word)
        if given.parameter.shape is Shape.ONE:
            self.waiting = None

    def _take_positional(self, parameter: Parameter, word: Word) -> None:
        if parameter.shape is Shape.COMMAND:
            self.inner = Walk(lookup(word.value, word.start))
        given = self.given.get(parameter.field)
        if given is None:
            given = self._begin(parameter, None)
        given.words.append(word)
        if parameter.shape is Shape.ONE:
            self._place += 1

    def _begin(self, parameter: Parameter, option: Option | None) -> Given:
        """Record that a parameter is given."""
        given = self.given[parameter.field] = Given(parameter, option, [])
        if parameter.shape is Shape.PAIRS:
            self._pairs = given
        return given

    def _refuse_word(self, word: Word) -> Mistake:
        """Return the mistake for a word that fits nowhere."""
        choices = tuple(option.word for _, option in self.options())
        ours = None if word.quoted else option_for(word.value)
        hint = f": use {ours}" if ours else did_you_mean(word.value, choices) if choices else ""
        if any(each.value == b"--" and not each.quoted for given in self.given.values() for each in given.words):
            hint = ': "--" is an argument here, and a word that begins with - needs none before it'
        return Mistake(
            f"{self.syntax.name} has no place for {name_shown(word.value)}{hint}", self.syntax.usage(), word.start
        )

    def _half_pair(self) -> Given | None:
        """Return the parameter with an incomplete last pair, if any."""
        return self._pairs if self._pairs is not None and odd(self._pairs) else None

    def _next_of(self, given: Given) -> str:
        """Return the name of the next word of a parameter."""
        names = ((given.option.placeholder if given.option else given.parameter.placeholder) or "").rstrip(".")
        return names.split()[odd(given)] if given.parameter.shape is Shape.PAIRS else names

    def _start_inner(self) -> list[str]:
        """Return the missing words of the parameter that has begun."""
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
        """Return whether a group may still be given. Positional parameters are given in order."""
        first = group[0]
        if self.waiting and self.waiting.parameter.shape is not Shape.ONE:
            return False
        if first.is_positional and first not in self._places[self._place :]:
            return False
        return not any(parameter.field in self.given for parameter in group)


def odd(given: Given) -> bool:
    """Return whether the last pair lacks its second word."""
    return len(given.words) % 2 == 1
