"""`kvsh watch PREFIX`: changes as they happen, until interrupted. In a pipe one JSON document a line, at once."""

from kvd.client import Client
from kvsh.grammar.shell import Watch
from kvsh.render import READ
from kvsh.render.changes import change_document, change_line
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
                    line = change_line(change).encode() + b"\n" if settings.form in READ else change_document(change)
                    output.data(line)
                output.flush()
    except KeyboardInterrupt:
        return INTERRUPTED


def watching(prefixes: list[bytes], revision: int) -> str:
    """Return the sentence that says what is watched: said only when nothing can be missed any more."""
    names = " ".join(printed(prefix) for prefix in prefixes) or "all keys"
    return f"watching {names} from revision {revision}"
