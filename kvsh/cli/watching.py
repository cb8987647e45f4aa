"""`kvsh watch PREFIX`: changes as they happen, until interrupted. In a pipe one JSON document a line, at once."""

from importlib import import_module

from kvd.client import Client
from kvd.commands.entry import Change
from kvsh.grammar.shell import Watch
from kvsh.render import READ
from kvsh.render.changes import change_document
from kvsh.script.looks import change_text, has_colors
from kvsh.script.outcome import INTERRUPTED, typed_as
from kvsh.script.output import Output
from kvsh.script.reach import require_daemon
from kvsh.script.settings import Settings
from kvsh.words import printed


def watch(command: Watch, settings: Settings, output: Output) -> int:
    """Write changes until Ctrl-C; raises KvdError when there are no more to come."""
    with typed_as("WATCH", "PING"):
        require_daemon(settings)
    prefixes = command.prefixes or []
    try:
        with (
            typed_as("WATCH", "CHANGES"),
            Client(**settings.connection) as client,
            client.watch(
                *prefixes, since=command.since, on_state=lambda state: output.message(f"kvsh: {state}")
            ) as changes,
        ):
            revision = changes.ready()
            output.message(f"kvsh: {watching(prefixes, revision)}")
            while True:
                for change in changes.take():
                    report(change, settings, output)
                output.flush()
    except KeyboardInterrupt:
        return INTERRUPTED


def report(change: Change, settings: Settings, output: Output) -> None:
    """Write a change in the form that is asked for, or run the command that is asked for."""
    if settings.hook is not None:
        import_module("kvsh.cli.hook").run_hook(settings.hook, change, output)  # subprocess costs 5 ms
    elif settings.form in READ:
        output.data(change_text(change, color=settings.color and has_colors(output.data_fd)).encode() + b"\n")
    else:
        output.data(change_document(change))


def watching(prefixes: list[bytes], revision: int) -> str:
    """Return the sentence that says what is watched: said only when nothing can be missed any more."""
    names = " ".join(printed(prefix) for prefix in prefixes) or "all keys"
    return f"watching {names} from revision {revision}"
