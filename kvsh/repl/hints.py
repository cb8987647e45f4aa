"""Hints after the cursor. If a suggestion from the history is shown there, the toolbar shows the hint instead."""

from collections.abc import Callable

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.utils import get_cwidth

from kvsh.grammar.aliases import Aliases, expand
from kvsh.grammar.block import last_statement
from kvsh.grammar.hints import hint
from kvsh.grammar.line import without_count
from kvsh.repl.encoding import as_bytes


class HintProcessor(Processor):
    """Adds the hint to the last line of the buffer, as far as it fits. `prompt_width` is the prompt's width."""

    def __init__(self, prompt_width: Callable[[], int], aliases: Aliases) -> None:
        self.prompt_width = prompt_width
        self.aliases = aliases

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Return the line, followed by the hint."""
        control, document = transformation_input.buffer_control, transformation_input.document
        is_last = transformation_input.lineno == document.line_count - 1
        width = transformation_input.width - self.prompt_width() - get_cwidth(document.lines[-1]) - 1
        shown = cut(_hint_behind(control, self.aliases), width) if is_last and document.is_cursor_at_the_end else ""
        return Transformation([*transformation_input.fragments, ("class:hint", shown)])


def cut(text: str, width: int) -> str:
    """Return a text cut to a width: a hint never wraps the line."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…" * (width > 0)


def _hint_behind(control: BufferControl, aliases: Aliases) -> str:
    """Return the hint, or nothing if a suggestion is shown in its place."""
    return "" if has_suggestion(control.buffer) else hint_for(control.buffer.text, aliases)


def hint_for(text: str, aliases: Aliases) -> str:
    """Return the hint for the last statement of a text."""
    return hint(without_count(expand(last_statement(as_bytes(text)), aliases)))


def has_suggestion(buffer: Buffer) -> bool:
    """Return whether the history suggests the rest of the line."""
    return bool(buffer.suggestion and buffer.suggestion.text)
