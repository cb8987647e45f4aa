"""The prompt: one event loop, one session, each line a task that Ctrl-C cancels.

While the prompt is shown, output goes through `write_above`; at other times it is written at the cursor.
"""

import asyncio
import signal
import termios
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import PurePosixPath

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.formatted_text import FormattedText, StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_width
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.shortcuts import print_formatted_text

from kvd.client.aio import AsyncClient
from kvd.commands import Command
from kvd.commands.server import Ping
from kvd.errors import KvdError
from kvsh.grammar.block import is_open, last_statement
from kvsh.grammar.transaction import OpenTransaction
from kvsh.repl.actions import Actions
from kvsh.repl.block import Block
from kvsh.repl.completer import LiveKeys, PlaceCompleter
from kvsh.repl.cursor import tolerate_silence
from kvsh.repl.editor import edit
from kvsh.repl.encoding import as_bytes, as_text
from kvsh.repl.hints import has_suggestion, hint_for
from kvsh.repl.interrupts import hear_interrupts, ignore_signals, with_sigint_blocked
from kvsh.repl.lexer import STYLE
from kvsh.repl.redirect import feed
from kvsh.repl.session import new_session
from kvsh.repl.threads import in_thread
from kvsh.repl.watcher import Watcher
from kvsh.ui.help import help_on_line
from kvsh.ui.outcome import OK
from kvsh.ui.output import Output, write_all
from kvsh.ui.pager import NOT_RUN, head_of, pager_for
from kvsh.ui.settings import Settings
from kvsh.words import display_form

STATE_CHECK_S = 1.0
LOOKUP_TIMEOUT_S = 1.0
LOOKUP_CONNECT_S = 0.3  # the first prompt reports an absent daemon after this time
CHUNK_BYTES = 64 * 1024  # written between two checks for Ctrl-C
QUOTE_OPEN = "a quote is open: Enter adds a line, Ctrl-C drops all lines"
WELCOME = "kvsh: HELP lists the commands, Tab completes, Ctrl-D leaves.\n"


class Shell:
    """A prompt. `Actions` runs its lines."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self.settings = settings
        self.output = output
        self.form = settings.form
        self.name = settings.profile or place_name(settings.url)
        self.always_timed = False
        self.open_transaction: OpenTransaction | None = None
        self.watcher: Watcher | None = None
        self.is_connected = True
        self.is_left = False
        self.is_paging = True
        self.is_lent = False
        self.terminal = asyncio.Lock()  # held by a program, the editor or lines written above the prompt
        self.task: asyncio.Task[bool] | None = None
        self.client = AsyncClient(**settings.connection)
        lookups = {"timeout": LOOKUP_TIMEOUT_S, "connect_timeout": LOOKUP_CONNECT_S}
        self.lookup = AsyncClient(**{**settings.connection, **lookups})
        completer = PlaceCompleter(LiveKeys(self.lookup), settings.aliases)
        self.session = new_session(
            settings, completer, self.prompt_width, self._toolbar, self._begin_edit, self._begin_explain
        )
        self.actions = Actions(self)

    # Display

    def prompt(self) -> StyleAndTextTuples:
        """Return the prompt: the daemon, and the size of an open transaction."""
        color = f"ansi{self.settings.prompt_color}" if self.settings.prompt_color else ""
        place = (color, self.name) if self.is_connected else ("class:prompt.lost", "not connected")
        transaction = f"(tx:{len(self.open_transaction.commands)})" if self.open_transaction is not None else ""
        return [place, ("class:prompt.state", transaction), ("", "> ")]

    def prompt_width(self) -> int:
        """Return the number of columns of the prompt."""
        return fragment_list_width(self.prompt())

    def _toolbar(self) -> StyleAndTextTuples:
        """Return the line at the bottom: the watch, and a hint hidden by a suggestion."""
        buffer = self.session.default_buffer
        hidden = hint_for(buffer.text, self.settings.aliases).strip() if has_suggestion(buffer) else ""
        watched = [("class:watch", f"{self.watcher.status}  ")] if self.watcher is not None else []
        continued = QUOTE_OPEN if "\n" in buffer.text and is_open(as_bytes(buffer.text)) else ""
        return [*watched, ("class:hint", hidden or continued)]

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
        is_paged = self.settings.pager and self.is_paging
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
        async with self.terminal:
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
        async with self.terminal:
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

    # Lines

    async def run(self) -> int:
        """Prompt and run lines until the user leaves."""
        hear_interrupts(lambda: None if self.is_lent else self.task)
        checks = asyncio.create_task(self._check_state())
        self.write(WELCOME)
        try:
            await self.start()
            while not self.is_left:
                await self.turn()
        finally:
            checks.cancel()
            await self.actions.unwatch()
            await self.client.close()
            await self.lookup.close()
        return OK

    async def start(self) -> None:
        """Run the `startup` commands of the configuration file, up to the first that fails."""
        for line in self.settings.startup:
            if not await self.run_line(line):
                self.show_error(f"startup stopped at this line of config.toml: {display_form(line.encode())}")
                return

    async def turn(self) -> None:
        """Prompt once, and run the line or the pasted block."""
        try:
            text = await self.session.prompt_async(self.prompt, handle_sigint=False)
        except KeyboardInterrupt:
            return
        except EOFError:
            self.is_left = await self._may_leave()
            return
        block = Block(as_bytes(text.rstrip("\n")))
        if len(block.statements) > 1:
            self.is_paging = False
            await block.run(self)
            self.is_paging = True
        elif block.statements:
            await self.run_line(as_text(block.statements[0].text))

    def command_of(self, line: bytes) -> Command:
        """Return the command of a line. Raises Mistake."""
        return self.actions.read(line)[1]

    async def run_line(self, line: str) -> bool:
        """Run a line as a task that Ctrl-C cancels; return whether it succeeded."""
        self.task = asyncio.create_task(self.actions.run_line(as_bytes(line)))
        try:
            return await self.task
        except asyncio.CancelledError:
            # A new connection: unsent commands are dropped, and nothing waits behind a long reply.
            await self.client.close()
            self.client = with_sigint_blocked(lambda: AsyncClient(**self.settings.connection))
            self.write("\n(interrupted: what was sent may still be executed)\n")
            return False
        finally:
            self.task = None

    def _begin_edit(self) -> None:
        """Open the editor on the line being typed."""
        self.session.app.create_background_task(self.edit())

    async def edit(self) -> None:
        """Edit the line in the editor; changes wait."""
        async with self.terminal:
            await edit(self.session.default_buffer)

    def _begin_explain(self) -> None:
        """Show help on the line being typed, above it."""
        page = help_on_line(last_statement(as_bytes(self.session.default_buffer.text)))
        self.session.app.create_background_task(self.write_above(page))

    async def _may_leave(self) -> bool:
        """Return whether to leave. An open transaction needs confirmation; a second Ctrl-D confirms."""
        if self.open_transaction is None:
            return True
        return await self.ask("leave, and discard the commands since BEGIN?", at_end=True)

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

    async def require_daemon(self) -> None:
        """Return if a daemon answers. Raises KvdError, after a third of a second if none is there."""
        await self.lookup.run(Ping())

    async def _check_state(self) -> None:
        """Keep the prompt's connection state up to date."""
        while True:
            was = self.is_connected
            try:
                await self.lookup.run(Ping())
                self.is_connected = True
            except KvdError:
                self.is_connected = False
            if was != self.is_connected:
                self.redraw()
            await asyncio.sleep(STATE_CHECK_S)


def place_name(url: str) -> str:
    """Return the name of the daemon for the prompt."""
    scheme, _, rest = url.partition("://")
    if scheme != "ipc":
        return rest
    path = PurePosixPath(rest)
    return path.parent.name or path.name


def run(settings: Settings, output: Output) -> int:
    """Run the prompt; return the exit code."""

    async def shell() -> int:
        return await Shell(settings, output).run()

    ignore_signals()
    return asyncio.run(shell())
