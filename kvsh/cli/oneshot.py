"""One command from the arguments: its result on standard output, a failure on standard error, and an exit code."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from kvd.client.stream import Stream
from kvd.commands import Command, Write
from kvd.errors import NOT_EXECUTED, UNKNOWN
from kvsh.cli.options import as_words
from kvsh.grammar import shell
from kvsh.grammar.parse import command_of
from kvsh.grammar.vocabulary import Mistake, name_shown
from kvsh.render import FORMATS, safe_pieces
from kvsh.render.data import json_error
from kvsh.ui.outcome import INTERRUPTED, NOT_FOUND, OK
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings
from kvsh.words import Word

CHUNK_BYTES = 1024 * 1024
MAY_RUN = "it may have been executed, or may be yet"
READING = "kvsh: the last argument is read from the terminal, up to Ctrl-D (`kvsh -- set k -x` stores -x)"
# One-shot commands with an exit code for a missing key (a documented contract).
EXIT_1_IF_MISSING = ("GET", "EXISTS", "ENTRY")


def run_words(arguments: Sequence[str], settings: Settings, output: Output) -> int:
    """Run the command of the arguments; return the exit code. Raises Mistake, KvdError."""
    words = as_words(arguments)
    if settings.last_from_stdin:
        if os.isatty(0):
            output.message(READING)
        words.append(Word(_read_all(0), quoted=True))
    command = _command_in(words)
    if settings.hook is not None and not isinstance(command, shell.Watch):
        raise Mistake(f"--exec belongs to WATCH, and this is {command.command_name()}")
    if isinstance(command, shell.ShellWord):
        return _act(command, settings, output)
    return OK if settings.dry_run else _run_repeated(command, settings, output)


def _command_in(words: Sequence[Word]) -> Command:
    """Return the command of words. Raises Mistake, about an unknown option if that is the cause."""
    try:
        return command_of(words)
    except Mistake as mistake:
        texts = [os.fsdecode(word.value) for word in words]
        unknown = import_module("kvsh.cli.trailing_options").unknown_option(texts)
        if unknown is None:
            raise
        name, shown = texts[0].upper(), name_shown(os.fsencode(unknown))
        raise Mistake(f"{name} has no place for {shown}, and there is no such option", mistake.usage) from None


def _run_repeated(command: Command, settings: Settings, output: Output) -> int:
    """Run a command of the daemon as often as `-r` says; return the last exit code. Raises KvdError."""
    with Stream(**settings.stream) as stream:
        try:
            code = run(stream, command, settings, output)
            for _ in range((settings.repeat or 1) - 1):
                time.sleep(settings.interval or 0)
                code = run(stream, command, settings, output)
        except KeyboardInterrupt:
            return _report_interrupt(stream, command, settings, output)
    return code


def run(stream: Stream, command: Command, settings: Settings, output: Output) -> int:
    """Run a command once; return the exit code. Raises KvdError."""
    result = stream.answer(command).result
    if not settings.quiet:
        write(command, result, settings, output)
    return NOT_FOUND if command.command_name() in EXIT_1_IF_MISSING and _not_found(result) else OK


def _report_interrupt(stream: Stream, command: Command, settings: Settings, output: Output) -> int:
    """Report whether a write was sent when Ctrl-C came; return the exit code."""
    text = ""
    if isinstance(command, Write) and stream.in_flight:
        is_sent = stream.is_reply_awaited
        text = f"{command.command_name()}: interrupted: {MAY_RUN if is_sent else 'it was not sent'}"
        if settings.form == "json":
            output.data(json_error("INTERRUPTED", text, UNKNOWN if is_sent else NOT_EXECUTED))
    lines = [""] * os.isatty(2) + [f"kvsh: {text}"] * bool(text)  # the terminal has echoed ^C
    if lines:
        output.message("\n".join(lines))
    return INTERRUPTED


def _not_found(result: object) -> bool:
    """Return whether a result means that there is no such key."""
    return result is None or (isinstance(result, int) and result == 0)


def _act(command: shell.ShellWord, settings: Settings, output: Output) -> int:
    """Act on a word of the shell that is valid as a single command. Raises Mistake, KvdError."""
    if not isinstance(command, shell.Watch | shell.Help):
        raise Mistake(f"{command.command_name()} works in a script or at the prompt")
    _check_options(command, settings)
    if settings.dry_run:
        return OK
    if isinstance(command, shell.Watch):
        return int(import_module("kvsh.cli.watching").watch(command, settings, output))
    if not settings.quiet:
        write(command, import_module("kvsh.ui.help").help_text(command), settings, output)
    return OK


def _check_options(command: shell.ShellWord, settings: Settings) -> None:
    """Raise Mistake for an option that has no effect on a word of the shell."""
    has_result = isinstance(command, shell.Help)
    flags = {
        "-r": settings.repeat is not None,
        "-n": settings.no_newline and not has_result,
        "-q": settings.quiet and not has_result,
        "-0": settings.form == "nul" and not has_result,
    }
    for flag in [flag for flag, is_asked in flags.items() if is_asked]:
        raise Mistake(f"{flag} has no effect on {command.command_name()}: leave it out")


def write(command: Command, result: Any, settings: Settings, output: Output) -> None:
    """Write a result; at a terminal in pieces, and through the pager if it is long."""
    if not os.isatty(output.data_fd):
        output.data(FORMATS[settings.form](command, result).removesuffix(_end_of(settings)))
    elif not (settings.pager and _show_paged(lambda: pieces(command, result, settings), settings)):
        for piece in pieces(command, result, settings):
            output.safe_data(piece)
    output.flush()


def _show_paged(make: Callable[[], Iterator[bytes]], settings: Settings) -> bool:
    """Show a text through the pager if it is longer than the screen; return whether it was shown."""
    return bool(import_module("kvsh.ui.pager").show_long(make, settings.pager_command))


def _end_of(settings: Settings) -> bytes:
    """Return the end of a result that `-n` removes."""
    return (b"\0" if settings.form == "nul" else b"\n") if settings.no_newline else b""


def pieces(command: Command, result: Any, settings: Settings) -> Iterator[bytes]:
    """Yield a result for a terminal, without its end if `-n` is set. A pretty result has colours."""
    if settings.form == "pretty" and settings.color and (looks := import_module("kvsh.ui.looks")).has_colors(1):
        lines = import_module("kvsh.render.pretty").pretty_lines(command, result)
        text = iter([bytes(looks.paint_lines(lines))])
    else:
        text = safe_pieces(settings.form, command, result)
    last = b""
    for piece in text:
        yield last
        last = piece
    yield last.removesuffix(_end_of(settings))


def _read_all(fd: int) -> bytes:
    """Return all bytes of a descriptor."""
    parts = []
    while chunk := os.read(fd, CHUNK_BYTES):
        parts.append(chunk)
    return b"".join(parts)
