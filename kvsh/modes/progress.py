"""What is told on standard error while a mode runs."""

import os

from kvsh.ui.output import Output
from kvsh.ui.progress import MESSAGE_FD, Progress
from kvsh.ui.settings import Settings


def progress_of(settings: Settings) -> Progress:
    """Return a mode's line of progress: shown with `--progress`, and without either at a terminal unless `-q`."""
    is_usual = os.isatty(MESSAGE_FD) and not settings.quiet
    return Progress(is_shown=is_usual if settings.progress is None else settings.progress)


def after_interrupt(output: Output, text: str) -> None:
    """Tell what there is to tell after Ctrl-C: at a terminal on a line of its own, below the ^C."""
    output.message("\n" * os.isatty(MESSAGE_FD) + text)
