"""A script from a file or from standard input."""

import os
from contextlib import ExitStack

from kvd.client import Stream
from kvsh.script.engine import Script, ScriptOptions
from kvsh.script.report import Reporter
from kvsh.ui.files import opened
from kvsh.ui.output import Output
from kvsh.ui.progress import Progress
from kvsh.ui.settings import Settings

LONG_S = 1.0  # a shorter script shows no progress


def run_script(file: str | None, settings: Settings, output: Output) -> int:
    """Run a script; return the exit code. Raises Mistake when the file cannot be read."""
    with ExitStack() as stack:
        fd = stack.enter_context(opened(file)) if file not in (None, "-") else 0
        stream = stack.enter_context(Stream(**settings.stream))
        is_usual = os.isatty(2) and not os.isatty(1) and not settings.quiet
        after_s = LONG_S if settings.progress is None else 0.0
        is_shown = is_usual if settings.progress is None else settings.progress
        output.attach(Progress(is_shown=is_shown, after_s=after_s))
        reporter = Reporter(output, stream.endpoint, form=settings.form, quiet=settings.quiet)
        options = ScriptOptions(settings.stop_on_error, settings.echo, settings.dry_run)
        return Script(stream, reporter, options).run(fd, file or "stdin")
