"""The prompt: one event loop, one session, each line a task that Ctrl-C cancels."""

import asyncio
from pathlib import PurePosixPath

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_width

from kvd.commands import Command
from kvsh.grammar.block import is_open, last_statement
from kvsh.repl.actions import Actions
from kvsh.repl.block import Block
from kvsh.repl.completer import LiveKeys, PlaceCompleter
from kvsh.repl.connections import Connections
from kvsh.repl.encoding import as_bytes, as_text
from kvsh.repl.hints import has_suggestion, hint_for
from kvsh.repl.interrupts import hear_interrupts, ignore_signals
from kvsh.repl.screen import Screen
from kvsh.repl.session import new_session
from kvsh.repl.state import SessionState
from kvsh.ui.help import help_on_line
from kvsh.ui.outcome import OK
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings
from kvsh.words import display_form

QUOTE_OPEN = "a quote is open: Enter adds a line, Ctrl-C drops all lines"
WELCOME = "kvsh: HELP lists the commands, Tab completes, Ctrl-D leaves.\n"


class Shell:
    """A prompt. `Actions` runs its lines."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self.settings = settings
        self.state = SessionState(settings.form)
        self.connections = Connections(settings)
        completer = PlaceCompleter(LiveKeys(self.connections.lookup), settings.aliases)
        self.session = new_session(
            settings, completer, self.prompt_width, self._toolbar, self._begin_edit, self._begin_explain
        )
        self.screen = Screen(settings, self.state, output, self.session)
        self.actions = Actions(settings, self.state, self.connections, self.screen)
        self.task: asyncio.Task[bool] | None = None

    def prompt(self) -> StyleAndTextTuples:
        """Return the prompt: the daemon, and the size of an open transaction."""
        color = f"ansi{self.settings.prompt_color}" if self.settings.prompt_color else ""
        name = self.settings.profile or place_name(self.settings.url)
        place = (color, name) if self.state.is_connected else ("class:prompt.lost", "not connected")
        return [place, ("class:prompt.state", self.state.transaction.label()), ("", "> ")]

    def prompt_width(self) -> int:
        """Return the number of columns of the prompt."""
        return fragment_list_width(self.prompt())

    def _toolbar(self) -> StyleAndTextTuples:
        """Return the line at the bottom: the watch, and a hint hidden by a suggestion."""
        buffer = self.session.default_buffer
        hidden = hint_for(buffer.text, self.settings.aliases).strip() if has_suggestion(buffer) else ""
        watch = [("class:watch", f"{self.state.watcher.status}  ")] if self.state.watcher is not None else []
        continued = QUOTE_OPEN if "\n" in buffer.text and is_open(as_bytes(buffer.text)) else ""
        return [*watch, ("class:hint", hidden or continued)]

    async def run(self) -> int:
        """Prompt and run lines until the user leaves."""
        hear_interrupts(lambda: None if self.screen.is_lent else self.task)
        checks = asyncio.create_task(self.connections.check_forever(self.state, self.screen.redraw))
        self.screen.write(WELCOME)
        try:
            await self._start()
            while not self.state.is_left:
                await self._turn()
        finally:
            checks.cancel()
            await self.state.stop_watch()
            await self.connections.close()
        return OK

    async def _start(self) -> None:
        """Run the `startup` commands of the configuration file, up to the first that fails."""
        for line in self.settings.startup:
            if not await self.run_line(line):
                self.screen.show_error(f"startup stopped at this line of config.toml: {display_form(line.encode())}")
                return

    async def _turn(self) -> None:
        """Prompt once, and run the line or the pasted block."""
        try:
            text = await self.session.prompt_async(self.prompt, handle_sigint=False)
        except KeyboardInterrupt:
            return
        except EOFError:
            if await self._may_leave():
                self.state.leave()
            return
        block = Block(as_bytes(text.rstrip("\n")))
        if len(block.statements) > 1:
            with self.state.without_paging():
                await block.run(self.state, self.screen, self)
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
            await self.connections.reconnect()
            self.screen.write("\n(interrupted: what was sent may still be executed)\n")
            return False
        finally:
            self.task = None

    def _begin_edit(self) -> None:
        """Open the editor on the line being typed."""
        self.session.app.create_background_task(self.screen.edit())

    def _begin_explain(self) -> None:
        """Show help on the line being typed, above it."""
        page = help_on_line(last_statement(as_bytes(self.session.default_buffer.text)))
        self.session.app.create_background_task(self.screen.write_above(page))

    async def _may_leave(self) -> bool:
        """Return whether to leave. An open transaction needs confirmation; a second Ctrl-D confirms."""
        if self.state.transaction.open is None:
            return True
        return await self.screen.ask("leave, and discard the commands since BEGIN?", at_end=True)


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
