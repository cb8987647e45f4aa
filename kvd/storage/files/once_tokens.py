"""The tokens of ONCE: which commands ran, and where the journal has their results. Tokens expire after ONCE_KEPT_MS."""

from collections.abc import Iterator

from kvd.commands.model import Milliseconds, OnceRecord
from kvd.limits import ONCE_KEPT_MS
from kvd.storage.files.journal import Journal
from kvd.storage.files.sqlite import with_translated_errors


class OnceTokens:
    """An index of the journal's records of ONCE by token, oldest first."""

    def __init__(self, journal: Journal, now: Milliseconds) -> None:
        self._journal = journal
        self._places = journal.tokens_after(now - ONCE_KEPT_MS)
        self._next = journal.next_token()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._places)

    def find(self, token: bytes) -> OnceRecord | None:
        """Return the record of a token, however old. Raises Corrupt."""
        place = self._places.get(token)
        if place is None:
            return None
        with with_translated_errors():
            return self._journal.find_once(place[0])

    def count(self, now: Milliseconds) -> int:
        """Remove the expired tokens from the index, and return the number of the others."""
        while self._places:
            token = next(iter(self._places))
            if self._places[token][1] > now - ONCE_KEPT_MS:
                break
            del self._places[token]
        return len(self._places)

    def number(self, records: list[OnceRecord]) -> list[tuple[int, OnceRecord]]:
        """Return records with the ids under which a commit writes them."""
        return list(enumerate(records, self._next))

    def on_commit(self, numbered: list[tuple[int, OnceRecord]]) -> None:
        """Add committed records to the index."""
        self._places.update({record.token: (number, record.time) for number, record in numbered})
        self._next += len(numbered)

    def delete_expired(self) -> None:
        """Delete the records that are not in the index from the journal. Raises `sqlite3.Error`."""
        oldest = next(iter(self._places.values()))[0] if self._places else self._next
        self._journal.delete_tokens(oldest)
