"""The options of kvsh, and which of its three ways in they mean: one command, a script, or the prompt."""

import os
import signal
import sys
from contextlib import ExitStack
from importlib import import_module
from typing import Any, NoReturn

import click

from kvd.client import DEFAULT_ENDPOINT, Stream
from kvd.errors import KvdError
from kvd.version import VERSION
from kvsh.cli.oneshot import run_words
from kvsh.grammar.vocabulary import Mistake
from kvsh.script.engine import Script, opened
from kvsh.script.outcome import BROKEN_IO, INTERRUPTED, UNREACHED, USAGE
from kvsh.script.output import Output
from kvsh.script.settings import Settings

SECONDS_MAX = 86_400
POOR_TERMINALS = ("", "dumb", "unknown")
CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "KVSH", "allow_interspersed_args": False}
EPILOG = """Without COMMAND, commands are read from -f FILE or a pipe, one a line; at a terminal kvsh prompts for them.
`kvsh help` lists the commands.

Exit codes: 0 all well, 1 get/exists/entry: no such key, 2 usage or parse error, 3 the daemon is not reached or the
outcome unknown, 4 refused, 5 conflict, 74 the output cannot be written, 130 interrupted. A script exits with its first
failure's code."""


@click.command(context_settings=CONTEXT, epilog=EPILOG)
@click.argument("words", metavar="[COMMAND [ARG]...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--url", default=DEFAULT_ENDPOINT, show_default=True, help="The daemon: tcp://HOST:PORT or ipc://PATH.")
@click.option("--local", metavar="DIR", help="Run a daemon on this directory for as long as kvsh runs.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001, max=SECONDS_MAX),
    default=5.0,
    show_default=True,
    help="Seconds to wait for a reply.",
)
@click.option("-f", "--file", metavar="FILE", help="Run the commands in a file.")
@click.option("--json", "form", flag_value="json", help="One JSON document for each command, errors too.")
@click.option("--csv", "form", flag_value="csv", help="RFC 4180 rows.")
@click.option("--raw", "form", flag_value="raw", help="Values as they are (the default in a pipe).")
@click.option("--terminal", "form", flag_value="terminal", help="For reading (the default at a terminal).")
@click.option("-n", "no_newline", is_flag=True, help="No newline after the result.")
@click.option("-q", "quiet", is_flag=True, help="Do not write the result: the exit code tells.")
@click.option("-e", "stop_on_error", is_flag=True, help="Run nothing after a line that fails.")
@click.option("-x", "last_from_stdin", is_flag=True, help="The last argument is read from standard input.")
@click.option("-r", "repeat", type=click.IntRange(min=1), default=1, metavar="N", help="Run COMMAND so many times.")
@click.option(
    "-i",
    "interval",
    type=click.FloatRange(min=0, max=SECONDS_MAX),
    default=0.0,
    metavar="SECONDS",
    help="Wait between them.",
)
@click.option("--echo", is_flag=True, help="Write each command of a script before its result.")
@click.option("--dry-run", is_flag=True, help="Check a script's lines without running them.")
@click.option("--vi", is_flag=True, help="Edit the line with vi's keys.")
@click.option("--no-color", is_flag=True, help="No colours and no other escape sequences for looks.")
@click.version_option(VERSION, prog_name="kvsh")
def command(words: tuple[str, ...], local: str | None, file: str | None, no_color: bool, **options: Any) -> int:  # noqa: FBT001
    """Talk to kvd, the key-value daemon.

    Examples: kvsh set city Ahmedabad; kvsh get city; kvsh < commands.kv; kvsh --local .data
    """
    options["form"] = options["form"] or ("terminal" if os.isatty(1) else "raw")
    settings = Settings(color=not (no_color or os.environ.get("NO_COLOR")), **options)
    with ExitStack() as stack:
        if local is not None:
            local_daemon = import_module("kvsh.cli.local").local_daemon  # costs 6 ms: only here
            settings = settings._replace(url=stack.enter_context(local_daemon(local)))
        return way_in(words, file, settings)


def way_in(words: tuple[str, ...], file: str | None, settings: Settings) -> int:
    """Take one of the three ways; return the exit code."""
    raw_to_terminal = os.isatty(1) and settings.form in ("raw", "csv")
    output = Output(is_terminal=raw_to_terminal)
    if words:
        return run_words(words, settings, output)
    if file is not None or not os.isatty(0):
        return run_script(file, settings, output)
    room = "kvsh.repl.plain" if os.environ.get("TERM", "") in POOR_TERMINALS or not os.isatty(1) else "kvsh.repl.prompt"
    return int(import_module(room).run(settings, output))  # asyncio and prompt_toolkit cost 80 ms: only here


def run_script(file: str | None, settings: Settings, output: Output) -> int:
    """Run a script; return the exit code."""
    with ExitStack() as stack:
        fd = stack.enter_context(opened(file)) if file not in (None, "-") else 0
        stream = Stream(settings.url, timeout=settings.timeout, connect_timeout=settings.connect_timeout)
        stack.callback(stream.close)
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


def fill_descriptors() -> None:
    """See to it that no socket takes the number of a closed standard stream. Raises OSError for the output's."""
    os.fstat(1)
    for fd in (0, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)


def main() -> NoReturn:
    """Run kvsh. A closed pipe ends it as it ends every filter (141); Ctrl-C gives 130."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        fill_descriptors()
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except KvdError as error:
        click.echo(f"kvsh: {error}", err=True)
        code = UNREACHED
    except OSError as error:
        click.echo(f"kvsh: {error.strerror or error}", err=True)
        code = BROKEN_IO
    except (Mistake, ValueError) as error:
        click.echo(f"kvsh: {error}", err=True)
        code = USAGE
    sys.exit(code)
