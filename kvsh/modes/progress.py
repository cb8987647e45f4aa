"""What is told on standard error while a mode runs."""

import os

from kvsh.script.output import Output
from kvsh.script.progress import MESSAGE_FD, Progress
from kvsh.script.settings import Settings


def progress_of(settings: Settings) -> Progress:
    """Return a mode's line of progress: shown at a terminal, or with `--progress`, and never with `-q`."""
    is_asked = os.isatty(MESSAGE_FD) if settings.progress is None else settings.progress
    return Progress(is_shown=is_asked and not settings.quiet)


def after_interrupt(output: Output, text: str) -> None:
    """Tell what there is to tell after Ctrl-C: at a terminal on a line of its own, below the ^C."""
    output.message("\n" * os.isatty(MESSAGE_FD) + text)
