"""The terminal of a prompt: results, messages and questions, and programs that borrow it.

While the prompt is shown, output goes through `write_above`; at other times it is written at the cursor.
"""

import asyncio
import signal
import termios
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.shortcuts import print_formatted_text

from kvsh.repl.cursor import tolerate_silence
from kvsh.repl.editor import edit
from kvsh.repl.lexer import STYLE
from kvsh.repl.redirect import feed
from kvsh.repl.state import SessionState
from kvsh.repl.threads import in_thread
from kvsh.ui.output import Output, write_all
from kvsh.ui.pager import NOT_RUN, head_of, pager_for
from kvsh.ui.settings import Settings

CHUNK_BYTES = 64 * 1024  # written between two checks for Ctrl-C


class Screen:
    """The terminal of a prompt."""

    def __init__(self, settings: Settings, state: SessionState, output: Output, session: PromptSession[str]) -> None:
        self.settings = settings
        self.state = state
        self.output = output
        self.session = session
        self.lock = asyncio.Lock()  # held by a program, the editor or lines written above the prompt
        self.is_lent = False

    def write(self, text: str) -> None:
        """Write text while no prompt is shown."""
        self.output.data(text.encode(errors="backslashreplace"))
        self.output.flush()

    def show_error(self, text: str) -> None:
        self._write_styled("class:error", f"(error) {text}")

    def show_note(self, text: str) -> None:
        self._write_styled("class:note", text)

    def _write_styled(self, style: str, text: str) -> None:
        """Write a line in a style."""
        print_formatted_text(FormattedText([(style, text)]), style=STYLE, output=self.session.output)

    async def show(self, make: Callable[[], Iterator[bytes]]) -> None:
        """Write a result, through the pager if it is longer than the screen. `make` starts it."""
        text = make()
        head = await in_thread(lambda: head_of(text))
        is_paged = self.settings.pager and self.state.is_paging
        program = pager_for(head, self.settings.pager_command) if is_paged else None
        if program is not None:
            if await self.lend(program, chain([head], text)) not in NOT_RUN:
                return
            head, text = b"", make()
        while head or (head := await in_thread(lambda: next(text, b""))):
            for start in range(0, len(head), CHUNK_BYTES):
                write_all(self.output.data_fd, head[start : start + CHUNK_BYTES])
                await asyncio.sleep(0)
            head = b""

    async def lend(self, program: str, text: Iterable[bytes]) -> int:
        """Give the terminal to a program until it exits; return its exit code. Ctrl-C goes to it, and changes wait."""
        async with self.lock:
            modes = termios.tcgetattr(0)
            self.is_lent = True
            try:
                code = await feed(text, program)
            finally:
                self.is_lent = False
                termios.tcsetattr(0, termios.TCSADRAIN, modes)
            if code == -signal.SIGINT:
                self.write("\n")  # the terminal has echoed ^C
            return code

    async def write_above(self, text: str) -> None:
        """Write whole lines above the line being typed, which stays as it is.

        Not `run_in_terminal`: it lets the terminal echo for a moment, so a key pressed then appears among the output;
        and after Enter it shows the prompt once more.
        """
        async with self.lock:
            app = get_app_or_none()
            if app is not None and app.renderer.waiting_for_cpr:
                await app.renderer.wait_for_cpr_responses()  # a late answer would report an old position
            is_shown = app is not None and app.is_running and not app.is_done
            if app is not None and is_shown:
                app.renderer.erase()
            write_all(self.output.data_fd, text.encode(errors="backslashreplace"))
            if app is not None and is_shown:
                app.renderer.request_absolute_cursor_position()
                app.invalidate()

    def redraw(self) -> None:
        """Show the prompt and the toolbar in their current state."""
        if self.session.app.is_running:
            self.session.app.invalidate()

    async def edit(self) -> None:
        """Edit the line in the editor; changes wait."""
        async with self.lock:
            await edit(self.session.default_buffer)

    async def ask(self, question: str, *, at_end: bool = False) -> bool:
        """Ask; return whether the answer is yes. `at_end` is the answer at the end of the input."""
        asking: PromptSession[str] = PromptSession(history=InMemoryHistory(), output=self.session.output)
        asking.app.renderer.cpr_support = self.session.app.renderer.cpr_support
        tolerate_silence(asking.app)
        try:
            return (await asking.prompt_async(f"{question} [y/N] ", handle_sigint=False)).strip().lower() in (
                "y",
                "yes",
            )
        except KeyboardInterrupt:
            return False
        except EOFError:
            return at_end
