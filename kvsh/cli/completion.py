"""Completes a word of kvsh's command line in bash, zsh and fish: options, commands, live keys, files.

click calls it when the shell's function runs `kvsh` with `_KVSH_COMPLETE` set. On any problem - a wrong line or
profile, a daemon that is down, hanging or slow - it offers nothing and writes no message.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class

from kvsh.cli.candidates import PATHS, Item, command_items, option_items, option_with_value
from kvsh.cli.shellwords import Typed, fish_text, fish_words, posix_text, posix_words
from kvsh.grammar.key_prefixes import longest_common_prefix
from kvsh.grammar.vocabulary import Mistake

SCRIPTS = os.path.join(os.path.dirname(__file__), "completions")  # noqa: PTH118, PTH120  # pathlib costs 6 ms
# bash only lists the answer when COMP_TYPE is '?'.
LISTING = str(ord("?"))


class KvshComplete(ShellComplete):
    """The common part of all shells. `typed` is the word to complete; it is the end of `line`."""

    script: ClassVar[str]
    words: ClassVar[Callable[[bytes, Mapping[bytes, bytes]], list[Typed]]]
    line = b""
    typed = Typed()

    def source(self) -> str:
        """Return the shell's script."""
        return _script_of(type(self)).decode()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words between `kvsh` and the typed word, and the typed word."""
        self.line = os.environb.get(b"COMP_LINE", b"")
        *before, self.typed = type(self).words(self.line, os.environb)
        return [os.fsdecode(each.value) for each in before if not each.is_target][1:], os.fsdecode(self.typed.value)

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        """Return the items that fit. Files are one item, because the shell lists them itself."""
        if self.typed.is_target:
            return [CompletionItem(incomplete, "file")]
        with self.cli.make_context(self.prog_name, [*args], resilient_parsing=True) as context:
            if context.params["words"] or "--" in args:
                return command_items(context, args, incomplete)
            name, equals, value = incomplete.partition("=")
            if equals and (option := option_with_value(context, name)):
                items = option_items(context, option, value)
                return [CompletionItem(f"{name}={item.value}", item.type, item.help) for item in items]
            if args and (option := option_with_value(context, args[-1])):
                return option_items(context, option, incomplete)
        return super().get_completions(args, incomplete)

    def complete(self) -> str:
        """Return the answer for the shell: a line for each item."""
        try:
            items = self.get_completions(*self.get_completion_args())
        except (Mistake, ValueError, click.ClickException):
            return ""
        return "\n".join(self.answer([item for item in items if self._can_insert(item)]))

    def _can_insert(self, item: Item) -> bool:
        """Return whether an item can be inserted at the cursor."""
        return _is_path(item) or (self.typed.is_known and self.text(item) is not None)

    def answer(self, items: list[Item]) -> list[str]:
        """Return the lines of the answer: the kind, text and description of each item."""
        return [self.format_completion(item) for item in items]

    def format_completion(self, item: Item) -> str:
        """Return the line of an item."""
        kind = "word" if item.type == "plain" else item.type  # click's own items are options and choices
        return kind if _is_path(item) else f"{kind}\t{self.text(item)}\t{item.help or ''}"

    def text(self, item: Item) -> str | None:
        """Return the value in the shell's syntax; None if it cannot be expressed."""
        return posix_text(os.fsencode(item.value))


@add_completion_class
class BashComplete(KvshComplete):
    """bash inserts the text unchanged, in place of readline's part of the word."""

    name = "bash"
    script = "kvsh"
    words = posix_words
    head = Typed()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words, and store the part of the last word that stays."""
        args, incomplete = super().get_completion_args()
        replaced = os.environb.get(b"COMP_WORD", b"")
        if not self.line.endswith(replaced):
            raise ValueError(replaced)
        self.head = posix_words(self.line[: len(self.line) - len(replaced)], os.environb)[-1]
        return args, incomplete

    def answer(self, items: list[Item]) -> list[str]:
        """Return the kind of the items, and their texts to insert or to list."""
        kinds = {item.type for item in items}
        kind = next((kind for kind in ("file", "dir", "stem") if kind in kinds), "word")
        if kind in PATHS.values():
            return [kind]
        if os.environ.get("COMP_TYPE") == LISTING:
            return [kind, *_in_columns(items)]
        texts = [str(self.text(item)) for item in items]
        common = self.text(CompletionItem(longest_common_prefix([item.value for item in items]))) if items else None
        if common is not None and longest_common_prefix(texts) != common:
            texts.append(common)  # or bash would insert half of an escape that several texts share
        return [kind, *texts]

    def text(self, item: Item) -> str | None:
        """Return the part of the value that replaces readline's part of the word."""
        value = os.fsencode(item.value)
        rest = value[len(self.head.value) :] if value.startswith(self.head.value) else None
        return None if rest is None else posix_text(rest, self.head.quote)


@add_completion_class
class ZshComplete(KvshComplete):
    """zsh removes the quotes of each text, and adds those that the place needs."""

    name = "zsh"
    script = "_kvsh"
    words = posix_words

    def answer(self, items: list[Item]) -> list[str]:
        """Return the lines. A description begins with the item's name, in a column."""
        shown = dict(zip([item.value for item in items], _in_columns(items), strict=True))
        return super().answer(
            [CompletionItem(item.value, item.type, item.help and shown[item.value]) for item in items]
        )


@add_completion_class
class FishComplete(KvshComplete):
    """fish quotes as zsh does, and cannot show a list differently from what it inserts."""

    name = "fish"
    script = "kvsh.fish"
    words = fish_words

    def text(self, item: Item) -> str | None:
        return fish_text(os.fsencode(item.value))


SHELLS: dict[str, type[KvshComplete]] = {each.name: each for each in (BashComplete, ZshComplete, FishComplete)}


def print_source(shell: str) -> int:
    """Write the script that a shell runs once; return the exit code."""
    click.echo(_script_of(SHELLS[shell]), nl=False)
    return 0


def _script_of(shell: type[KvshComplete]) -> bytes:
    with open(os.path.join(SCRIPTS, shell.script), "rb") as file:  # noqa: PTH118, PTH123
        return file.read()


def word(context: click.Context, _: click.Parameter, incomplete: str) -> list[Item]:
    """Return the candidates for the first word."""
    return command_items(context, [], incomplete)


def _is_path(item: Item) -> bool:
    """Return whether an item stands for all files, which the shell completes itself."""
    return item.type in PATHS.values()


def _in_columns(items: Sequence[Item]) -> list[str]:
    """Return items for reading: in two columns if they have a description."""
    texts = [str(posix_text(os.fsencode(item.value))) for item in items]
    width = max([len(text) for text, item in zip(texts, items, strict=True) if item.help], default=0)
    return [f"{text:<{width}}  {item.help}" if item.help else text for text, item in zip(texts, items, strict=True)]
