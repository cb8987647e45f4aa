"""`kvd export` and `kvd import`: all entries of a running daemon as text, and back."""

import os
import shlex
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from kvd.cli.exits import CANNOT_CREATE, DATA_ERROR, IO_ERROR, NO_INPUT, SIGNALLED, exit_code, fail, report
from kvd.client import DEFAULT_ENDPOINT, Client
from kvd.client.keys import read_keys
from kvd.errors import ClientError, KvdError, NotLetIn
from kvd.transfer.exporter import export, new_file
from kvd.transfer.formats import FORMATS, guess_format
from kvd.transfer.importer import Batch, BatchFailed, Importer
from kvd.transfer.lines import BadLine, Lines, parse_records
from kvd.transfer.progress import Progress, duration_text, is_watched
from kvd.transfer.signals import Interrupted, Signals

STDIN, STDOUT = 0, 1
REPLY_S, CONNECT_S = 30.0, 5.0  # a fold can delay the reply to a batch by seconds

OPTIONS = (
    click.argument("file", default="-", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True)),
    click.option("--format", "form", type=click.Choice(list(FORMATS)), help="Default: csv for *.csv, else jsonl."),
    click.option("--prefix", default="", help="Only keys with this prefix."),
    click.option(
        "--url",
        envvar="KVSH_URL",
        show_envvar=True,
        default=DEFAULT_ENDPOINT,
        show_default=True,
        help="The daemon: tcp://HOST:PORT or ipc://PATH.",
    ),
    click.option("--key", envvar="KVSH_KEY", show_envvar=True, metavar="FILE", help="This client's secret key."),
    click.option(
        "--server-key", envvar="KVSH_SERVER_KEY", show_envvar=True, metavar="FILE", help="The daemon's public key."
    ),
)


def _with_transfer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments and options of both commands."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command("export")
@_with_transfer_options
def export_command(file: Path, form: str | None, prefix: str, **connection: Any) -> None:
    """Write all entries of a running daemon to FILE.

    Without FILE they go to standard output, in the byte order of their keys.
    The file is named FILE.partial until it is complete and durable. An existing file is not overwritten.
    The entries are read page by page, not as of one commit: for that, see kvd backup.

    Example: kvd export monday.jsonl
    """
    is_stdout = str(file) == "-"
    if is_stdout:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that stops ends us quietly, like any other filter
    chosen = FORMATS[form or guess_format(str(file))]
    start = os.fsencode(prefix)
    progress = Progress(is_shown=is_watched(data_fd=STDOUT if is_stdout else None))
    with _report_errors(progress, connection["url"]), Signals() as signals, _connect(**connection) as client:
        with ExitStack() as stack:
            fd = STDOUT if is_stdout else stack.enter_context(new_file(file))
            with signals.interruptible():
                progress.total = client.count(start) if progress.is_shown else None
                count = export(
                    stack.enter_context(client.stream()), fd, chosen, start, lambda count: progress.show(count, count)
                )
        progress.clear()
        click.echo(duration_text(count, progress.seconds), err=True)


@click.command("import")
@_with_transfer_options
@click.option("--skip-lines", type=click.IntRange(min=0), default=0, help="The number of lines of FILE to skip.")
@click.pass_context
def import_command(
    context: click.Context, /, file: Path, form: str | None, prefix: str, skip_lines: int, **connection: Any
) -> None:
    """Set the entries of FILE in a running daemon.

    Without FILE they come from standard input.
    They are applied in order and in batches. An import that ends early reports up to which line all is durable, and how
    to resume; starting over is just as safe, because every line sets a key. Entries that have expired are left out.

    Example: kvd import monday.jsonl
    """
    chosen = FORMATS[form or guess_format(str(file))]
    progress = Progress(is_shown=is_watched())
    with ExitStack() as stack:
        stack.enter_context(_report_errors(progress, connection["url"]))
        fd = STDIN if str(file) == "-" else stack.enter_context(_open_input(file))
        signals = stack.enter_context(Signals(second_is_urgent=True))
        client = stack.enter_context(_connect(**connection))
        progress.total = _size_of(fd)

        lines = Lines(lambda size: importer.read(fd, size))
        importer = Importer(
            stack.enter_context(client.stream()),
            signals,
            prefix=os.fsencode(prefix),
            skip=skip_lines,
            tick=lambda: progress.show(importer.entries, lines.bytes),
        )
        try:
            importer.run(parse_records(lines, chosen, skip_lines))
        except (BadLine, BatchFailed, Interrupted, OSError) as error:
            progress.clear()
            _report_failure(error, importer, file, _resume_command(context, file), connection["url"])
        progress.clear()
        click.echo(duration_text(importer.entries, progress.seconds) + _text_of_skipped(importer), err=True)


def _report_failure(
    error: Exception, importer: Importer, file: Path, resume: Callable[[int], str], url: str
) -> NoReturn:
    """Report why an import ended early, how far it came and how to resume it, and exit."""
    name = "standard input" if str(file) == "-" else str(file)
    done = importer.done
    if isinstance(error, BadLine):
        done, code, why = error.number - 1, DATA_ERROR, f"{name}:{error.number}: {error}"
    elif isinstance(error, BatchFailed):
        code, why = exit_code(error.error), f"{name}, {_lines_of(error.batch)}: {_message_of(error.error, url)}"
    elif isinstance(error, Interrupted):
        code, why = SIGNALLED + error.number, f"interrupted by {error}"
    else:
        assert isinstance(error, OSError)
        code, why = IO_ERROR, f"cannot read {name}: {error.strerror}"
    report(f"kvd: {why}")
    report(f"{done:,} lines of {name} are applied and durable{_text_of_skipped(importer)}. To resume: {resume(done)}")
    sys.exit(code)


def _lines_of(batch: Batch) -> str:
    return f"line {batch.first}" if batch.first == batch.last else f"lines {batch.first} to {batch.last}"


def _text_of_skipped(importer: Importer) -> str:
    """Describe the entries that were read and not set, if any."""
    expired = f"; {importer.expired:,} left out, since they have expired" if importer.expired else ""
    return expired + (f"; {importer.others:,} left out, since they have another prefix" if importer.others else "")


def _resume_command(context: click.Context, file: Path) -> Callable[[int], str]:
    """Return a function that makes the command to resume after a line: this command, as it was typed."""
    words = ["kvd", "import"]
    for name, option in (("form", "format"), ("prefix",) * 2, ("url",) * 2, ("key",) * 2, ("server_key", "server-key")):
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            words += [f"--{option}", context.params[name]]

    def command(done: int) -> str:
        tail = " < INPUT" if str(file) == "-" else " " + shlex.quote(str(file))
        return f"{shlex.join([*words, '--skip-lines', str(done)])}{tail}"

    return command


@contextmanager
def _open_input(file: Path) -> Iterator[int]:
    """Open a file for reading; report a file that cannot be opened, and exit."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        fail(NO_INPUT, f"{file}: {error.strerror}")
    try:
        yield fd
    finally:
        os.close(fd)


def _size_of(fd: int) -> int | None:
    """Return how many bytes a file has left; None for a pipe or a terminal."""
    facts = os.fstat(fd)
    return facts.st_size - os.lseek(fd, 0, os.SEEK_CUR) if stat.S_ISREG(facts.st_mode) else None


def _connect(url: str, key: str | None, server_key: str | None) -> Client:
    """Return a client of the daemon. Raises UsageError."""
    if (key is None) != (server_key is None):
        raise click.UsageError("--key and --server-key go together: this client's key and the daemon's public key")
    try:
        keys = None if key is None or server_key is None else read_keys(key, server_key)
        return Client(url, timeout=REPLY_S, connect_timeout=CONNECT_S, keys=keys)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def _report_errors(progress: Progress, url: str) -> Iterator[None]:
    """Exit with a message and the exit code of an error."""
    try:
        yield
    except KvdError as error:
        why, code = _message_of(error, url), exit_code(error)
    except FileExistsError as error:
        why, code = f"{error.filename} {error.strerror}", CANNOT_CREATE
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else f"cannot write: {error.strerror}"
        code = CANNOT_CREATE if error.filename else IO_ERROR
    except Interrupted as error:
        why, code = f"interrupted by {error}", SIGNALLED + error.number
    else:
        return
    progress.clear()
    fail(code, why)


def _message_of(error: KvdError, url: str) -> str:
    """Return the message for an error."""
    if isinstance(error, NotLetIn):
        return f"{error}: see --key and --server-key ({url})"
    return f"{error} ({url})" if isinstance(error, ClientError) and not error.where else str(error)
