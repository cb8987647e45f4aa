"""The family `changes`: what happened since."""

from typing import Annotated, ClassVar

from msgspec import Meta

from kvd.commands.base import Answer, Power, Read, Wait, Write
from kvd.commands.entry import Milliseconds, Reader, Writer
from kvd.commands.fields import Option, Prefix, Revision
from kvd.commands.fields import Wait as WaitMs
from kvd.limits import CHANGES_LIMIT_DEFAULT, CHANGES_LIMIT_MAX

ChangesLimit = Annotated[int, Meta(ge=1, le=CHANGES_LIMIT_MAX)]


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

    def run(self, entries: Reader, now: Milliseconds) -> Answer | Wait:  # noqa: ARG002
        """Return the changes; when there is none yet, and one is waited for, a Wait."""
        prefix = self.prefix or b""
        upto, changes = entries.changes(self.since, prefix, self.limit or CHANGES_LIMIT_DEFAULT)
        if self.wait_ms and not changes and upto == entries.revision:
            return Wait(upto, prefix, self.wait_ms)
        return Answer(upto, changes)


class Compact(Write, tag="COMPACT"):
    """Forget the changes up to a revision.

    The result is the revision up to which they are gone. Entries stay.
    """

    examples = ("COMPACT 41",)
    power: ClassVar[Power] = "admin"
    revision: Revision

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Compact; return up to where changes are gone."""
        return entries.compact(self.revision)
