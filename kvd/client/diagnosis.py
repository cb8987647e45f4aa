"""Why a command got no reply, as far as its stream knows: the endpoint, the attempts, and the daemon's reason. Pure."""

from collections.abc import Mapping, Sequence

from kvd.client.outcomes import Traits, connection_broke, not_sent, reply_missing
from kvd.errors import ClientError


class Diagnosis:
    """Records dials, replies and failures of a stream."""

    def __init__(self, endpoint: str = "") -> None:
        self.endpoint = endpoint  # of the current connection, or of the last one
        self._problem = ""  # why the daemon rejects this client
        self._is_silent = False  # a peer accepts connections, and sends nothing
        self._failures: dict[str, Sequence[tuple[str, str]]] = {}  # by endpoint

    def on_dial(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def on_reply(self) -> None:
        self._problem = ""
        self._failures.clear()

    def on_silence(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent

    def on_rejected(self, problem: str) -> None:
        """Replace the reason: the key mismatch of a daemon that was ending does not explain the next failure."""
        self._problem = problem

    def on_failure(self, endpoint: str, failures: Sequence[tuple[str, str]]) -> None:
        """Record (address, reason) of each failed attempt to reach an endpoint."""
        self._failures[endpoint] = failures

    def no_reply(self, traits: Traits, *, was_sent: bool) -> ClientError:
        """Return the error of a command without a reply in time."""
        if was_sent:
            return reply_missing(traits, self._where)
        where = f" at {failures_text(self._failures) or self.endpoint}" if self.endpoint else ""
        return not_sent(traits, self._problem, where, is_silent=self._is_silent)

    def connection_broke(self, traits: Traits) -> ClientError:
        """Return the error of a write: the connection broke before the reply."""
        return connection_broke(traits, self._where)

    @property
    def _where(self) -> str:
        """The end of an error sentence about a connection."""
        return f" ({self.endpoint})" if self.endpoint else ""


def failures_text(failures: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Describe failed attempts: endpoint -> (address, reason) for each address."""
    parts = []
    for endpoint, tried in failures.items():
        reasons = [reason if address in endpoint else f"{address}: {reason}" for address, reason in tried]
        parts.append(f"{endpoint} ({'; '.join(reasons)})" if reasons else endpoint)
    return ", ".join(parts)
