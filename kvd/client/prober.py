"""The probes of a follower: PING, then one CHANGES that covers all its prefixes. Pure."""

from kvd import wire
from kvd.client.follower import Follower, common_prefix
from kvd.client.question import Question
from kvd.commands.base import Ok
from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.commands.server import Ping
from kvd.limits import CHANGES_LIMIT_DEFAULT


class Prober:
    """Asks for the span that a follower cannot prove."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._prefix = common_prefix(list(follower.prefixes))
        self._head = 0

    def next_questions(self) -> list[Question]:
        """Return the questions of a probe, if one is due."""
        since = self._follower.begin_probe()
        if since is None:
            return []
        connection = self._follower.connection
        changes = Changes(since, self._prefix, CHANGES_LIMIT_DEFAULT)
        return [Question(Ping(), self._on_ping, connection), Question(changes, self._on_changes, connection)]

    def _on_ping(self, reply: Ok) -> list[Change]:
        self._head = reply.revision
        return []

    def _on_changes(self, reply: Ok) -> list[Change]:
        return self._follower.on_probed(self._head, reply.revision, wire.changes_in(reply.result))
