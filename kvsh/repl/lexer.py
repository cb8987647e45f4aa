"""Colours while typing: an unknown command is red before Enter."""

from collections.abc import Callable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import split_lines
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import Style

from kvsh.grammar.aliases import NO_ALIASES, Aliases
from kvsh.grammar.block import statements
from kvsh.grammar.line import without_count
from kvsh.grammar.vocabulary import CommandInfo, vocabulary
from kvsh.repl.encoding import as_bytes, as_text
from kvsh.words import Unbalanced, Word, is_comment, split

STYLE = Style.from_dict(
    {
        "command": "bold ansigreen",
        "unknown": "ansired",
        "option": "ansicyan",
        "quoted": "ansiyellow",
        "comment": "ansibrightblack",
        "hint": "ansibrightblack",
        "error": "ansired",
        "note": "ansibrightblack",
        "prompt.state": "ansiyellow",
        "prompt.lost": "ansired",
        "watch": "ansiblue",
        "bottom-toolbar": "noreverse ansibrightblack",
    }
)


class LineLexer(Lexer):
    """The lexer of prompt-toolkit's buffer."""

    def __init__(self, aliases: Aliases = NO_ALIASES) -> None:
        self.aliases = aliases

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return a function from a line number to its fragments."""
        lines = list(split_lines(text_fragments(document.text, self.aliases)))
        return lambda number: lines[number] if number < len(lines) else []


def text_fragments(text: str, aliases: Aliases = NO_ALIASES) -> StyleAndTextTuples:
    """Return a text as (style, text) pairs that join to the text."""
    if "\n" not in text:
        return fragments(text, aliases)
    parts = [[*fragments(as_text(each.text), aliases), ("", "\n")] for each in statements(as_bytes(text))]
    return [fragment for part in parts for fragment in part][:-1]


def fragments(text: str, aliases: Aliases = NO_ALIASES) -> StyleAndTextTuples:
    """Return a line as (style, text) pairs that join to the line."""
    line = as_bytes(text)
    if is_comment(line):
        return [("class:comment", text)]
    command = without_count(line)
    try:
        words, end = split(command), len(line)
    except Unbalanced as error:
        words, end = split(command[: error.position]), error.position
    styled: StyleAndTextTuples = []
    position = 0
    for style, word in zip(_styles(words, end_typed=end, aliases=aliases), words, strict=True):
        styled += [("", as_text(line[position : word.start])), (style, as_text(line[word.start : word.end]))]
        position = word.end
    return [*styled, ("", as_text(line[position:end])), ("class:quoted", as_text(line[end:]))]


def _styles(words: list[Word], end_typed: int, aliases: Aliases) -> list[str]:
    if not words:
        return []
    first = words[0]
    info = vocabulary().get(first.value.upper())
    rest = [_style_of(word, info) for word in words[1:]]
    if first.value.upper() in aliases and not first.quoted:
        return ["class:command", *rest]
    return [_name_style(first, info, is_typed=first.end == end_typed), *rest]


def _name_style(word: Word, info: CommandInfo | None, *, is_typed: bool) -> str:
    """Return the style of a name. An unfinished name that may become a command is not marked."""
    if info is not None:
        return "class:command"
    name = word.value.upper()
    return "" if is_typed and any(each.startswith(name) for each in vocabulary()) else "class:unknown"


def _style_of(word: Word, info: CommandInfo | None) -> str:
    if word.quoted:
        return "class:quoted"
    options = [option for parameter in info.syntax.parameters for option in parameter.options] if info else []
    return "class:option" if any(option.word.encode() == word.value.upper() for option in options) else ""
