"""The family `changes`: the journal, by revision."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from kvd.commands.base import NotYet, Read, ResultAt, Role, Write
from kvd.commands.fields import Key, Prefix, Revision, option
from kvd.commands.fields import Wait as WaitMs
from kvd.commands.model import Change, Milliseconds, Reader, Writer
from kvd.limits import CHANGES_LIMIT_DEFAULT, CHANGES_LIMIT_MAX, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX

ChangesLimit = Annotated[int, Meta(ge=1, le=CHANGES_LIMIT_MAX)]
HistoryLimit = Annotated[int, Meta(ge=1, le=HISTORY_LIMIT_MAX)]


class Changes(Read, tag="CHANGES"):
    """Return the changes after a revision, of all keys or of a prefix.

    The result is complete up to the reply's revision; continue from there. With WAIT, if there is no change yet, the
    reply comes with the first one, or after that many milliseconds. The error is COMPACTED if the changes are no longer
    kept.
    """

    examples = ("CHANGES 0", "CHANGES 41 user: LIMIT 10", "CHANGES 41 WAIT 1000")
    since: Revision
    prefix: Prefix | None = None
    limit: Annotated[ChangesLimit | None, option("LIMIT", "n")] = None
    wait_ms: Annotated[WaitMs | None, option("WAIT", "ms")] = None

    def column_names(self) -> tuple[str, ...]:
        return tuple(Change.__struct_fields__)

    def run(self, entries: Reader, now: Milliseconds) -> ResultAt | NotYet:  # noqa: ARG002
        """Return the changes; or NotYet, if there is none and the client waits."""
        prefix = self.prefix or b""
        upto, changes = entries.changes(self.since, prefix, self.limit or CHANGES_LIMIT_DEFAULT)
        if self.wait_ms and not changes and upto == entries.revision:
            return NotYet(upto, prefix, self.wait_ms)
        return ResultAt(upto, changes)


class History(Read, tag="HISTORY"):
    """Return a page of the changes of a key, newest first.

    The second part of the result is the BEFORE of the next page, nil on the last page. A page may be short, or empty,
    and still have a next one, because many changes of other keys were read for it. Changes that are no longer kept are
    omitted.
    """

    examples = ("HISTORY city", "HISTORY city BEFORE 41 LIMIT 10")
    key: Key
    before: Annotated[Revision | None, option("BEFORE", "n")] = None
    limit: Annotated[HistoryLimit | None, option("LIMIT", "n")] = None

    def column_names(self) -> tuple[str, ...]:
        return tuple(Change.__struct_fields__)

    def run(self, entries: Reader, now: Milliseconds) -> list[Any]:  # noqa: ARG002
        """Return [changes, next]."""
        return list(entries.changes_of(self.key, self.before, self.limit or HISTORY_LIMIT_DEFAULT))


class Compact(Write, tag="COMPACT"):
    """Discard the changes up to a revision.

    The result is the revision up to which changes are discarded. Entries are kept.
    """

    examples = ("COMPACT 41",)
    role: ClassVar[Role] = "admin"
    revision: Revision

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Return the revision up to which changes are discarded."""
        return entries.compact(self.revision)
