"""The shell a person types into: one event loop, one prompt, commands as tasks that Ctrl-C ends.

What happens above the prompt while it is shown goes through `write_above`; everything else prints.
"""

import asyncio
import signal
from contextlib import suppress
from pathlib import PurePosixPath

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import is_done
from prompt_toolkit.formatted_text import FormattedText, StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_width
from prompt_toolkit.history import History as AnyHistory
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.layout.processors import ConditionalProcessor
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.shortcuts import print_formatted_text

from kvd.client.aio import AsyncClient
from kvd.commands.server import Ping
from kvd.errors import KvdError
from kvsh.grammar.gather import Gathering
from kvsh.grammar.hints import hint
from kvsh.grammar.line import without_count
from kvsh.repl.actions import Actions
from kvsh.repl.completer import LiveKeys, PlaceCompleter
from kvsh.repl.hints import HintProcessor, has_suggestion
from kvsh.repl.history import History, history_path
from kvsh.repl.lexer import STYLE, LineLexer
from kvsh.repl.text import as_bytes
from kvsh.repl.watcher import Watcher
from kvsh.script.outcome import WELL
from kvsh.script.output import Output, write_all
from kvsh.script.settings import Settings

STATE_CHECK_S = 1.0
LOOKUP_TIMEOUT_S = 1.0
WELCOME = "kvsh: HELP lists the commands, Tab completes, Ctrl-D leaves.\n"


class Shell:
    """The state of one prompt. `Actions` runs the lines."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self.settings = settings
        self.output = output
        self.form = settings.form
        self.always_timed = False
        self.gathering: Gathering | None = None
        self.watcher: Watcher | None = None
        self.is_connected = True
        self.is_left = False
        self.task: asyncio.Task[bool] | None = None
        self.client = self.connected()
        self.lookup = AsyncClient(settings.url, timeout=LOOKUP_TIMEOUT_S, keys=settings.keys)
        self.colors = None if settings.color else ColorDepth.DEPTH_1_BIT
        self.session: PromptSession[str] = PromptSession(
            history=history(),
            completer=PlaceCompleter(LiveKeys(self.lookup)),
            lexer=LineLexer(),
            auto_suggest=AutoSuggestFromHistory(),
            input_processors=[ConditionalProcessor(HintProcessor(self.prompt_width), ~is_done)],
            style=STYLE,
            color_depth=self.colors,
            complete_while_typing=False,
            enable_open_in_editor=True,
            editing_mode=EditingMode.VI if settings.vi else EditingMode.EMACS,
            bottom_toolbar=self.toolbar,
        )
        self.actions = Actions(self)

    def connected(self) -> AsyncClient:
        """Return a client with a connection of its own."""
        settings = self.settings
        return AsyncClient(**settings.connection)

    # What is seen

    def prompt(self) -> StyleAndTextTuples:
        """Return the prompt: where we are connected, and what is being gathered."""
        if not self.is_connected:
            return [("class:prompt.lost", "not connected"), ("", "> ")]
        gathered = f"(tx:{len(self.gathering.commands)})" if self.gathering is not None else ""
        return [("", place_name(self.settings.url)), ("class:prompt.state", gathered), ("", "> ")]

    def prompt_width(self) -> int:
        """Return how many columns the prompt takes."""
        return fragment_list_width(self.prompt())

    def toolbar(self) -> StyleAndTextTuples:
        """Return the line below: what is watched, and the hint that a suggestion hides."""
        buffer = self.session.default_buffer
        hidden = hint(without_count(as_bytes(buffer.text))).strip() if has_suggestion(buffer) else ""
        watched = [("class:watch", f"{self.watcher.status}  ")] if self.watcher is not None else []
        return [*watched, ("class:hint", hidden)]

    def write(self, text: str) -> None:
        """Write text where no prompt is shown."""
        self.output.data(text.encode(errors="backslashreplace"))
        self.output.flush()

    def tell_error(self, text: str) -> None:
        """Write an error."""
        if self.settings.color:
            print_formatted_text(FormattedText([("class:error", f"(error) {text}")]), style=STYLE)
        else:
            self.write(f"(error) {text}\n")

    async def write_above(self, text: str) -> None:
        """Write whole lines above the line being typed, which stays as it is."""
        await run_in_terminal(lambda: write_all(1, text.encode(errors="backslashreplace")))

    def redraw(self) -> None:
        """Show the prompt and the toolbar as they are now."""
        if self.session.app.is_running:
            self.session.app.invalidate()

    # What happens

    async def run(self) -> int:
        """Prompt and run lines until the person leaves."""
        self.hear_interrupts()
        checks = asyncio.create_task(self.check_state())
        self.write(WELCOME)
        try:
            while not self.is_left:
                await self.turn()
        finally:
            checks.cancel()
            await self.actions.unwatch()
            await self.client.close()
            await self.lookup.close()
        return WELL

    async def turn(self) -> None:
        """Prompt once and run what was typed; a pasted block line by line, up to the first error."""
        try:
            text = await self.session.prompt_async(self.prompt)
        except KeyboardInterrupt:
            return
        except EOFError:
            self.is_left = await self.may_leave()
            return
        for line in text.splitlines():
            if not await self.run_line(line) or self.is_left:
                return

    async def run_line(self, line: str) -> bool:
        """Run a line as a task that Ctrl-C ends; its late reply is dropped. Return whether all went well."""
        self.task = asyncio.create_task(self.actions.run_line(as_bytes(line)))
        self.hear_interrupts()
        try:
            return await self.task
        except asyncio.CancelledError:
            await self.client.close()  # a late reply goes with it, and nothing has to wait behind it
            self.client = self.connected()
            self.write("(interrupted: what was sent may still be executed)\n")
            return False
        finally:
            self.task = None

    def hear_interrupts(self) -> None:
        """Let Ctrl-C end the command that runs, and nothing else: while the prompt is shown it is a key.

        Not `loop.add_signal_handler`: the prompt takes that away, and what is left would end the shell.
        """
        loop = asyncio.get_running_loop()

        def interrupted(*_: object) -> None:
            if self.task is not None:
                loop.call_soon_threadsafe(self.task.cancel)

        signal.signal(signal.SIGINT, interrupted)

    async def may_leave(self) -> bool:
        """Return whether to leave: asked when something was gathered and not sent."""
        if self.gathering is None:
            return True
        return await self.is_agreed("leave, and discard what was gathered since BEGIN?")

    async def is_agreed(self, question: str) -> bool:
        """Ask; return whether the answer is yes."""
        with suppress(KeyboardInterrupt, EOFError):
            asking: PromptSession[str] = PromptSession(history=InMemoryHistory(), color_depth=self.colors)
            return (await asking.prompt_async(f"{question} [y/N] ")).strip().lower() in ("y", "yes")
        return False

    async def check_state(self) -> None:
        """Keep the prompt's word on the connection true."""
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
    """Return what the prompt calls the daemon."""
    scheme, _, rest = url.partition("://")
    if scheme != "ipc":
        return rest
    path = PurePosixPath(rest)
    return path.parent.name or path.name


def history() -> AnyHistory:
    """Return the history file, or one in memory where none can be written."""
    try:
        return History(history_path())
    except OSError:
        return InMemoryHistory()


def run(settings: Settings, output: Output) -> int:
    """Run the prompt; return the exit code."""

    async def shell() -> int:
        return await Shell(settings, output).run()

    # Before asyncio.run, which would take over the default handler: between a prompt and the command that
    # follows, a Ctrl-C would then end the shell.
    signal.signal(signal.SIGINT, lambda *_: None)
    return asyncio.run(shell())
