"""A script from a file or from standard input."""

from contextlib import ExitStack

from kvd.client import Stream
from kvsh.script.engine import Script, opened
from kvsh.script.output import Output
from kvsh.script.settings import Settings


def run_script(file: str | None, settings: Settings, output: Output) -> int:
    """Run a script; return the exit code. Raises Mistake when the file cannot be read."""
    with ExitStack() as stack:
        fd = stack.enter_context(opened(file)) if file not in (None, "-") else 0
        stream = stack.enter_context(Stream(**settings.connection))
        script = Script(
            stream,
            output,
            form=settings.form,
            stop_on_error=settings.stop_on_error,
            echo=settings.echo,
            dry_run=settings.dry_run,
            quiet=settings.quiet,
        )
        return script.run(fd, file or "stdin")
