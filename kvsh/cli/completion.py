"""What completes a word of the command line of kvsh, in bash, zsh and fish: options, commands, live keys, files.

click asks for it when the shell's function runs `kvsh` with `_KVSH_COMPLETE` set. Whatever is wrong - the line, the
profile, a daemon that is down, hangs or is slow - nothing is offered and nothing is said.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class

from kvsh.cli.candidates import PATHS, Item, command_items, option_items, option_with_value
from kvsh.cli.shellwords import Typed, fish_text, fish_words, posix_text, posix_words
from kvsh.grammar.key_prefixes import shared_prefix
from kvsh.grammar.vocabulary import Mistake

SCRIPTS = os.path.join(os.path.dirname(__file__), "completions")  # noqa: PTH118, PTH120  # pathlib costs 6 ms
# bash: what it is given is only shown, when COMP_TYPE is '?'.
LISTING = str(ord("?"))


class KvshComplete(ShellComplete):
    """What is the same for all shells. `typed` is the word to complete, `line` ends with it."""

    script: ClassVar[str]
    words: ClassVar[Callable[[bytes, Mapping[bytes, bytes]], list[Typed]]]
    line = b""
    typed = Typed()

    def source(self) -> str:
        """Return the shell's script."""
        return _script_of(type(self)).decode()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words after `kvsh` up to the one that is typed, and that."""
        self.line = os.environb.get(b"COMP_LINE", b"")
        *before, self.typed = type(self).words(self.line, os.environb)
        return [os.fsdecode(each.value) for each in before if not each.is_target][1:], os.fsdecode(self.typed.value)

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        """Return all that fits; of files only that they do."""
        if self.typed.is_target:
            return [CompletionItem(incomplete, "file")]
        with self.cli.make_context(self.prog_name, [*args], resilient_parsing=True) as context:
            if context.params["words"] or "--" in args:
                return command_items(context, args, incomplete)
            name, equals, value = incomplete.partition("=")
            if equals and (option := option_with_value(context, name)):
                found = option_items(context, option, value)
                return [CompletionItem(f"{name}={item.value}", item.type, item.help) for item in found]
            if args and (option := option_with_value(context, args[-1])):
                return option_items(context, option, incomplete)
        return super().get_completions(args, incomplete)

    def complete(self) -> str:
        """Return the answer to the shell: a line for each item."""
        try:
            items = self.get_completions(*self.get_completion_args())
        except (Mistake, ValueError, click.ClickException):
            return ""
        return "\n".join(self.answer([item for item in items if self._is_sayable(item)]))

    def _is_sayable(self, item: Item) -> bool:
        """Return whether an item can stand where the cursor is."""
        return _is_path(item) or (self.typed.is_known and self.text(item) is not None)

    def answer(self, items: list[Item]) -> list[str]:
        """Return the lines of the answer: of each item what it is, its text, and what is said of it."""
        return [self.format_completion(item) for item in items]

    def format_completion(self, item: Item) -> str:
        """Return the line of an item."""
        kind = "word" if item.type == "plain" else item.type  # click's own items are options and choices
        return kind if _is_path(item) else f"{kind}\t{self.text(item)}\t{item.help or ''}"

    def text(self, item: Item) -> str | None:
        """Return the value as the shell reads it; None when it has no way to say it."""
        return posix_text(os.fsencode(item.value))


@add_completion_class
class BashComplete(KvshComplete):
    """bash: what it is given stands in the line as it is, for the part of the word that readline replaces."""

    name = "bash"
    script = "kvsh"
    words = posix_words
    head = Typed()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words; note what of the last stays."""
        args, incomplete = super().get_completion_args()
        replaced = os.environb.get(b"COMP_WORD", b"")
        if not self.line.endswith(replaced):
            raise ValueError(replaced)
        self.head = posix_words(self.line[: len(self.line) - len(replaced)], os.environb)[-1]
        return args, incomplete

    def answer(self, items: list[Item]) -> list[str]:
        """Return what the items are, and their texts: those to insert, or those to show."""
        kinds = {item.type for item in items}
        kind = next((kind for kind in ("file", "dir", "stem") if kind in kinds), "word")
        if kind in PATHS.values():
            return [kind]
        if os.environ.get("COMP_TYPE") == LISTING:
            return [kind, *_without_duplicates(items)]
        texts = [str(self.text(item)) for item in items]
        common = self.text(CompletionItem(shared_prefix([item.value for item in items]))) if items else None
        if common is not None and shared_prefix(texts) != common:
            texts.append(common)  # or an escape that several texts begin with would be inserted by half
        return [kind, *texts]

    def text(self, item: Item) -> str | None:
        """Return the part of the value that is to replace readline's part of the word."""
        value = os.fsencode(item.value)
        rest = value[len(self.head.value) :] if value.startswith(self.head.value) else None
        return None if rest is None else posix_text(rest, self.head.quote)


@add_completion_class
class ZshComplete(KvshComplete):
    """zsh: takes the quotes off each text, and adds those that the place needs."""

    name = "zsh"
    script = "_kvsh"
    words = posix_words

    def answer(self, items: list[Item]) -> list[str]:
        """Return the lines; what is said of an item is its name too, in a column."""
        shown = dict(zip([item.value for item in items], _without_duplicates(items), strict=True))
        return super().answer(
            [CompletionItem(item.value, item.type, item.help and shown[item.value]) for item in items]
        )


@add_completion_class
class FishComplete(KvshComplete):
    """fish: it quotes as zsh does; it can only be told of lines, one each."""

    name = "fish"
    script = "kvsh.fish"
    words = fish_words

    def text(self, item: Item) -> str | None:
        """Return the value as fish reads it."""
        return fish_text(os.fsencode(item.value))


SHELLS: dict[str, type[KvshComplete]] = {each.name: each for each in (BashComplete, ZshComplete, FishComplete)}


def print_source(shell: str) -> int:
    """Write the script that a shell has to run once; return the exit code."""
    click.echo(_script_of(SHELLS[shell]), nl=False)
    return 0


def _script_of(shell: type[KvshComplete]) -> bytes:
    """Return a shell's script."""
    with open(os.path.join(SCRIPTS, shell.script), "rb") as file:  # noqa: PTH118, PTH123
        return file.read()


def word(context: click.Context, _: click.Parameter, incomplete: str) -> list[Item]:
    """Return what may be the first word."""
    return command_items(context, [], incomplete)


def _is_path(item: Item) -> bool:
    """Return whether an item stands for all files, which the shell knows better."""
    return item.type in PATHS.values()


def _without_duplicates(items: Sequence[Item]) -> list[str]:
    """Return items for reading: those of which something is said in two columns."""
    texts = [str(posix_text(os.fsencode(item.value))) for item in items]
    width = max([len(text) for text, item in zip(texts, items, strict=True) if item.help], default=0)
    return [f"{text:<{width}}  {item.help}" if item.help else text for text, item in zip(texts, items, strict=True)]
