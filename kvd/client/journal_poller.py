"""A watch by the journal alone, for a client that is not let in to the changes socket: it may not read all keys. Pure.

    span: CHANGES of each prefix from our position    ->  deliver, up to where all the answers are complete
    wait: CHANGES of each prefix, WAIT                ->  when one is answered there may be something: another span

With one prefix an answer to a wait is a span already. Several have to be asked again, since the other prefixes may have
had changes before those.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from kvd.client.probe import Probe, disjoint_prefixes
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.limits import POLL_WAIT_MS

SPAN, WAIT = "span", "wait"


class JournalPoller:
    """What to ask next, and what the answers bring: each change after `position` once, in order."""

    def __init__(self, prefixes: Sequence[bytes], position: int) -> None:
        self.prefixes = disjoint_prefixes(prefixes)
        self.position = position
        self.is_complete = False  # whether a span has been answered
        self.span: Probe | None = None
        self.is_due = True
        self.waiting: set[bytes] = set()

    def next_commands(self) -> list[tuple[str, Changes]]:
        """Return what to send now, each with the tag to give to `took`."""
        if self.span is not None:
            return []
        probe = Probe(self.prefixes, self.position)
        if self.is_due:
            self.is_due, self.span = False, probe
            return [(SPAN, command) for command in probe.commands]
        waits = [replace(command, wait_ms=POLL_WAIT_MS) for command in probe.commands]
        waits = [command for command in waits if command.prefix not in self.waiting]
        self.waiting.update(self.prefixes)
        return [(WAIT, command) for command in waits]

    def on_result(self, tag: str, prefix: bytes, upto: int, changes: list[Change]) -> list[Change]:
        """An answer to a command came; return what is to be delivered."""
        if tag == WAIT:
            self.waiting.discard(prefix)
            if len(self.prefixes) > 1:
                self.is_due = True
                return []
            return self._finish_span(upto, changes)
        assert self.span is not None
        whole = self.span.on_result(upto, changes)
        if whole is None:
            return []
        self.span = None
        self.is_complete = True
        return self._finish_span(*whole)

    def _finish_span(self, upto: int, changes: list[Change]) -> list[Change]:
        """Move to where the answers are complete."""
        self.position = max(self.position, upto)
        return changes
