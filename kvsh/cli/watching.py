"""`kvsh watch PREFIX`: writes changes as they happen, until interrupted. In a pipe: one JSON document a line."""

from importlib import import_module
from typing import NoReturn

from kvd.client import Client
from kvd.client.watch import Watch as Changes
from kvd.commands.model import Change
from kvsh.grammar.shell import Watch
from kvsh.render import READ
from kvsh.render.changes import change_document, resume_text
from kvsh.ui.connect import require_daemon
from kvsh.ui.looks import change_text, has_colors
from kvsh.ui.outcome import INTERRUPTED, typed_as
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings
from kvsh.words import quote


def watch(command: Watch, settings: Settings, output: Output) -> int:
    """Write changes until Ctrl-C. Raises KvdError when the watch fails."""
    with typed_as("WATCH", "PING"):
        require_daemon(settings)
    try:
        with (
            typed_as("WATCH", "CHANGES"),
            Client(**settings.connection) as client,
            client.watch(
                *command.prefixes or [],
                since=command.since,
                history=command.history,
                on_state=lambda state: output.message(f"kvsh: {state}"),
            ) as changes,
        ):
            _write_until_interrupted(changes, command, settings, output)
    except KeyboardInterrupt:
        return INTERRUPTED


def _write_until_interrupted(changes: Changes, command: Watch, settings: Settings, output: Output) -> NoReturn:
    """Write changes; at the end, write where to resume."""
    revision = changes.ready()
    history = changes.position.history
    output.message(f"kvsh: {_watch_text(command.prefixes or [], revision)}")
    try:
        while True:
            for change in changes.take():
                report(change, history, settings, output)
                revision = change.revision  # after it is written: an interrupt before repeats a change and loses none
            output.flush()
            revision = changes.revision
    except KeyboardInterrupt:
        output.message(f"kvsh: {resume_text(revision, history)}")
        raise


def report(change: Change, history: str | None, settings: Settings, output: Output) -> None:
    """Write a change in the chosen format, or run the command of --exec."""
    if settings.hook is not None:
        import_module("kvsh.cli.hook").run_hook(settings.hook, change, output)  # subprocess costs 5 ms
    elif settings.form in READ:
        output.data(change_text(change, color=settings.color and has_colors(output.data_fd)).encode() + b"\n")
    else:
        output.data(change_document(change, history))


def _watch_text(prefixes: list[bytes], revision: int) -> str:
    """Return the sentence about the watch, written once no change can be missed."""
    names = " ".join(quote(prefix) for prefix in prefixes) or "all keys"
    return f"watching {names} from revision {revision}"
