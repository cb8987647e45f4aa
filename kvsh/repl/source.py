"""SOURCE: runs a file with the script engine, in a thread with its own connection, until Ctrl-C."""

import os

from kvd.client import Stream
from kvsh.repl.threads import in_thread
from kvsh.script.engine import Script
from kvsh.script.report import Reporter
from kvsh.ui.files import opened
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings


class CancellableOutput(Output):
    """An output that can be cut off: what a script writes after Ctrl-C is dropped."""

    is_cut = False

    def cut(self) -> None:
        """Drop everything from now on."""
        self.is_cut = True

    def flush(self) -> None:
        """Write buffered data, or drop it."""
        if self.is_cut:
            self.parts = []
        super().flush()

    def message(self, text: str) -> None:
        """Write a line, or drop it."""
        if not self.is_cut:
            super().message(text)


class Source:
    """A run of SOURCE."""

    def __init__(self, settings: Settings, form: str) -> None:
        self.settings = settings
        self.form = form
        self.output = CancellableOutput(is_terminal=True)
        self.script: Script | None = None

    async def run(self, name: str) -> int:
        """Run a file; return its exit code. Raises Mistake when it cannot be read."""
        try:
            return await in_thread(lambda: self._run_file(os.path.expanduser(name)))  # noqa: PTH111  # names may not be text
        finally:
            self._stop()

    def _run_file(self, name: str) -> int:
        """Run a file. Raises Mistake."""
        with opened(name) as fd, Stream(**self.settings.stream) as stream:
            self.script = Script(stream, Reporter(self.output, stream.endpoint, form=self.form))
            return self.script.run(fd, name)

    def _stop(self) -> None:
        """Send and write nothing more."""
        self.output.cut()
        if self.script is not None:
            self.script.stop()

    @property
    def count(self) -> int:
        """Return how many commands were read."""
        return 0 if self.script is None else self.script.count
