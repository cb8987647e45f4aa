"""The line being typed: its keys, its appearance, and an output without colours."""

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import Completer
from prompt_toolkit.cursor_shapes import ModalCursorShapeConfig
from prompt_toolkit.enums import DEFAULT_BUFFER, EditingMode
from prompt_toolkit.filters import (
    Condition,
    completion_is_selected,
    emacs_mode,
    has_focus,
    has_selection,
    is_done,
    vi_navigation_mode,
)
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History as AnyHistory
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import ConditionalProcessor
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Attrs

from kvsh.grammar.block import is_open, statements
from kvsh.repl.cursor import tolerate_silence
from kvsh.repl.encoding import as_bytes
from kvsh.repl.hints import HintProcessor
from kvsh.repl.history import History, history_path
from kvsh.repl.lexer import STYLE, LineLexer
from kvsh.ui.settings import Settings

ESCAPE_S = 0.05  # how long to wait after Esc for the rest of a key; prompt-toolkit's half a second makes vi slow

if TYPE_CHECKING:
    Session = PromptSession[str]


class Colorless(Vt100_Output):
    """Terminal output without colours, bold or reverse video; text and cursor movements are sent as usual."""

    def set_attributes(self, attrs: Attrs, color_depth: ColorDepth) -> None:
        """Send nothing."""

    def reset_attributes(self) -> None:
        """Send nothing."""


def new_session(
    settings: Settings,
    completer: Completer,
    prompt_width: Callable[[], int],
    toolbar: Callable[[], StyleAndTextTuples],
    edit: Callable[[], None],
    explain: Callable[[], None],
) -> "Session":
    """Return the session that reads lines. `edit` opens the editor, `explain` shows help on the line."""
    session: Session = PromptSession(
        history=history(settings.profile),
        completer=completer,
        lexer=LineLexer(settings.aliases),
        auto_suggest=AutoSuggestFromHistory(),
        input_processors=[ConditionalProcessor(HintProcessor(prompt_width, settings.aliases), ~is_done)],
        style=STYLE,
        output=_output(settings),
        complete_while_typing=False,
        enable_history_search=True,
        enable_suspend=True,
        editing_mode=EditingMode.VI if settings.vi else EditingMode.EMACS,
        cursor=ModalCursorShapeConfig() if settings.vi and settings.color else None,
        key_bindings=keys(edit, explain),
        prompt_continuation=_continuation,
        bottom_toolbar=toolbar,
    )
    session.app.ttimeoutlen = ESCAPE_S
    tolerate_silence(session.app)
    return session


def _continuation(width: int, number: int, wrap_count: int) -> StyleAndTextTuples:
    """Return the prefix of a later line, as wide as the prompt: its number, or an open quote."""
    if wrap_count:
        return []
    begins = number + 1 in _first_lines(get_app().current_buffer.text)
    return [("class:note", (f"{number + 1}> " if begins else '"> ').rjust(width))]


@lru_cache(maxsize=1)
def _first_lines(text: str) -> frozenset[int]:
    """Return the numbers of the lines at which statements begin."""
    return frozenset(statement.first for statement in statements(as_bytes(text)))


def _is_quote_open() -> bool:
    """Return whether the text being typed ends within quotes, so that Enter continues it."""
    return is_open(as_bytes(get_app().current_buffer.text))


def _output(settings: Settings) -> Output | None:
    """Return the terminal to write to; None for prompt-toolkit's own."""
    return None if settings.color else Colorless.from_pty(sys.stdout, term=os.environ.get("TERM"))


def history(profile: str | None) -> AnyHistory:
    """Return the history file of a profile, or a history in memory if no file can be written."""
    try:
        return History(history_path(profile))
    except OSError:
        return InMemoryHistory()


def _is_choice() -> bool:
    """Return whether the menu offers more than one word; Tab alone inserts a single word."""
    state = get_app().current_buffer.complete_state
    return state is not None and len(state.completions) > 1


def keys(edit: Callable[[], None], explain: Callable[[], None]) -> KeyBindings:
    """Return kvsh's key bindings."""
    bindings = KeyBindings()

    @bindings.add("enter", filter=has_focus(DEFAULT_BUFFER) & Condition(_is_quote_open))
    def _continue(event: KeyPressEvent) -> None:
        """Add a line to the value."""
        event.current_buffer.newline(copy_margin=False)

    @bindings.add("enter", filter=completion_is_selected & Condition(_is_choice))
    def _take(event: KeyPressEvent) -> None:
        """Insert the selected word; the next Enter runs the line."""
        event.current_buffer.complete_state = None

    @bindings.add("f1")
    def _explain(_: KeyPressEvent) -> None:
        explain()

    @bindings.add("c-x", "c-e", filter=emacs_mode & ~has_selection)
    @bindings.add("v", filter=vi_navigation_mode)
    def _edit(_: KeyPressEvent) -> None:
        edit()

    return bindings
