"""A watch that reads only the journal: the client may not read all keys, and has no changes socket. Pure.

    span: CHANGES of each prefix from our position    ->  deliver, up to where all the replies are complete
    wait: CHANGES of each prefix, WAIT                ->  a reply means that there may be changes: ask for another span

With one prefix the reply to a wait is already a complete span. With several, all prefixes must be asked again, because
another prefix may have earlier changes.
"""

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from kvd import wire
from kvd.client.probe import Probe, disjoint_prefixes
from kvd.client.question import Question
from kvd.commands.base import Ok
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.limits import POLL_WAIT_MS


class JournalPoller:
    """Delivers each change after `position` once, in order."""

    def __init__(self, prefixes: Sequence[bytes], position: int) -> None:
        self.position = position
        self.is_complete = False  # True once all replies to the first span have arrived
        self._prefixes = disjoint_prefixes(prefixes)
        self._span: Probe | None = None
        self._is_span_due = True
        self._waiting: set[bytes] = set()

    def next_questions(self) -> list[Question]:
        """Return what to ask now."""
        if self._span is not None:
            return []
        probe = Probe(self._prefixes, self.position)
        if self._is_span_due:
            self._is_span_due, self._span = False, probe
            return [Question(command, self._on_span) for command in probe.commands]
        waits = [prefix for prefix in self._prefixes if prefix not in self._waiting]
        self._waiting.update(waits)
        return [self._wait_question(command) for command in probe.commands if command.prefix in waits]

    def _wait_question(self, command: Changes) -> Question:
        return Question(replace(command, wait_ms=POLL_WAIT_MS), partial(self._on_wait, command.prefix or b""))

    def _on_span(self, reply: Ok) -> list[Change]:
        assert self._span is not None
        span = self._span.on_result(reply.revision, wire.changes_in(reply.result))
        if span is None:
            return []
        self._span = None
        self.is_complete = True
        return self._move(*span)

    def _on_wait(self, prefix: bytes, reply: Ok) -> list[Change]:
        self._waiting.discard(prefix)
        if len(self._prefixes) > 1:
            self._is_span_due = True
            return []
        return self._move(reply.revision, wire.changes_in(reply.result))

    def _move(self, upto: int, changes: list[Change]) -> list[Change]:
        """Move to the revision up to which the replies are complete."""
        self.position = max(self.position, upto)
        return changes
