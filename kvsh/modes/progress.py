"""Messages on standard error while a mode runs."""

import os

from kvsh.ui.output import Output
from kvsh.ui.progress import MESSAGE_FD, Progress
from kvsh.ui.settings import Settings


def progress_of(settings: Settings) -> Progress:
    """Return a mode's line of progress: shown if `--progress` says so, by default at a terminal without `-q`."""
    is_usual = os.isatty(MESSAGE_FD) and not settings.quiet
    return Progress(is_shown=is_usual if settings.progress is None else settings.progress)


def report_after_interrupt(output: Output, text: str) -> None:
    """Write a message after Ctrl-C: at a terminal on a new line, below the ^C."""
    output.message("\n" * os.isatty(MESSAGE_FD) + text)
