"""The family `changes`: what happened since."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from kvd.commands.base import NotYet, Read, ResultAt, Role, Write
from kvd.commands.fields import Key, Option, Prefix, Revision
from kvd.commands.fields import Wait as WaitMs
from kvd.commands.model import Change, Milliseconds, Reader, Writer
from kvd.limits import CHANGES_LIMIT_DEFAULT, CHANGES_LIMIT_MAX, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX

ChangesLimit = Annotated[int, Meta(ge=1, le=CHANGES_LIMIT_MAX)]
HistoryLimit = Annotated[int, Meta(ge=1, le=HISTORY_LIMIT_MAX)]


class Changes(Read, tag="CHANGES"):
    """Return the changes after a revision, of all keys or a prefix.

    They are all there up to the reply's revision. Go on from the reply's revision. With WAIT, when there is
    none yet, the reply comes with the first one or after so many milliseconds. COMPACTED when they are no
    longer kept.
    """

    examples = ("CHANGES 0", "CHANGES 41 user: LIMIT 10", "CHANGES 41 WAIT 1000")
    since: Revision
    prefix: Prefix | None = None
    limit: Annotated[ChangesLimit | None, Option("LIMIT", "n")] = None
    wait_ms: Annotated[WaitMs | None, Option("WAIT", "ms")] = None

    def column_names(self) -> tuple[str, ...]:
        """Return what the parts of a change are called."""
        return tuple(Change.__struct_fields__)

    def run(self, entries: Reader, now: Milliseconds) -> ResultAt | NotYet:  # noqa: ARG002
        """Return the changes; when there is none yet, and one is waited for, a Wait."""
        prefix = self.prefix or b""
        upto, changes = entries.changes(self.since, prefix, self.limit or CHANGES_LIMIT_DEFAULT)
        if self.wait_ms and not changes and upto == entries.revision:
            return NotYet(upto, prefix, self.wait_ms)
        return ResultAt(upto, changes)


class History(Read, tag="HISTORY"):
    """Return a page of the changes of a key, the newest first.

    Give the second part of the result as BEFORE to go on; nil: there are no more. A page that looked through many
    changes of other keys may be short, or empty, and still have a next one. Changes that are no longer kept are left
    out.
    """

    examples = ("HISTORY city", "HISTORY city BEFORE 41 LIMIT 10")
    key: Key
    before: Annotated[Revision | None, Option("BEFORE", "n")] = None
    limit: Annotated[HistoryLimit | None, Option("LIMIT", "n")] = None

    def column_names(self) -> tuple[str, ...]:
        """Return what the parts of a change are called."""
        return tuple(Change.__struct_fields__)

    def run(self, entries: Reader, now: Milliseconds) -> list[Any]:  # noqa: ARG002
        """Return [changes, next]."""
        return list(entries.changes_of(self.key, self.before, self.limit or HISTORY_LIMIT_DEFAULT))


class Compact(Write, tag="COMPACT"):
    """Forget the changes up to a revision.

    The result is the revision up to which they are gone. Entries stay.
    """

    examples = ("COMPACT 41",)
    role: ClassVar[Role] = "admin"
    revision: Revision

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Compact; return up to where changes are gone."""
        return entries.compact(self.revision)
