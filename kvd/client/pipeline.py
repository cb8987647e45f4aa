"""A pipeline: commands are sent in portions while they are collected, over one connection of the client's.

Replies come in the order of the commands, so a request carries no number. Only a command that later ones may overtake
(one that waits, CHECK, BACKUP) gets one. After a broken connection, the safe commands are sent again, in order.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from types import TracebackType
from typing import Any

from msgspec import Struct

from kvd.client.connection import Connection, ConnectionLost, DeadlineExceeded
from kvd.client.context import ContextManaged
from kvd.client.method import Call, Gathered
from kvd.client.methods import Methods
from kvd.client.outcomes import Traits, connection_broke, decode, encode, not_sent, ok, reply_missing, traits_of
from kvd.client.pool import Pool
from kvd.client.values import Codec, K, V, same
from kvd.commands import Command
from kvd.errors import ClientError, KvdError
from kvd.limits import IN_FLIGHT_MAX

PORTION_COMMANDS = 128  # a pipeline of SETs reaches 0.8 of this rate with 64, and no more with 192 or 256
PORTION_BYTES = 64 * 1024


class Entry(Struct, gc=False):
    """A command of a pipeline. `number` is empty unless its reply may be overtaken; `wait_s` is its WAIT.

    It is a Struct: making a NamedTuple takes 0.23 us, and a Struct 0.07 us.
    """

    position: int
    traits: Traits
    convert: Callable[[Any], Any]
    body: bytes
    number: bytes = b""
    wait_s: float = 0.0


class Pipeline(Methods[K, V], Gathered, ContextManaged):
    """Sends the commands that it collects, many in flight; `results` is complete, and in order, when it is closed."""

    def __init__(self, pool: Pool, codec: Codec[Any, Any]) -> None:
        # 13 attributes: a command moves through four of them (unsent, portion, in order or numbered, results).
        # An object for these queues would cost each command a call.
        self.codec = codec
        self.results: list[Any] = []
        self._pool = pool
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._unsent: deque[Entry] = deque()
        self._unsent_bytes = 0
        self._portion: tuple[list[Entry], list[bytes]] = ([], [])  # the commands being sent, and their bytes
        self._in_order: deque[Entry] = deque()  # the commands that await a reply without a number
        self._numbered: dict[bytes, Entry] = {}  # the commands that await a reply with one
        self._resent: set[int] = (
            set()
        )  # the positions of unsent commands that were sent before, over a connection that broke
        self._progress_at = 0.0
        self._failure: KvdError | None = None  # why nothing more is sent: there is no daemon, or an interrupt came

    def call(self, call: Call[Any]) -> None:
        """Collect a call; send a full portion. Raises TooLarge for this command alone, which is then not collected."""
        if call.command is None:
            self.results.append(call.convert(None))
            return
        body = encode(call.command)
        traits = traits_of(type(call.command))
        entry = Entry(len(self.results), traits, call.convert, body)
        if traits.may_be_overtaken:
            entry.number = entry.position.to_bytes(4, "big")
            entry.wait_s = (getattr(call.command, "wait_ms", None) or 0) / 1000
        self.results.append(None)
        self._unsent.append(entry)
        self._unsent_bytes += len(body)
        if len(self._unsent) >= PORTION_COMMANDS or self._unsent_bytes >= PORTION_BYTES:
            self._send_all()

    def run(self, command: Command) -> None:
        """Collect any command of `kvd.commands`."""
        self.call(Call(command, same))

    def close(self) -> None:
        """Wait for all results; raise the first error among them. `results` has all outcomes."""
        while self._unsent or self._awaited_count:
            self._send_all()
            if self._awaited_count:
                self._attempt(self._receive)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)
        error = next((result for result in self.results if isinstance(result, KvdError)), None)
        if error is not None:
            raise error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all results, unless an error leaves the block."""
        if kind is None:
            self.close()
        else:
            self._drop_connection()

    @property
    def _awaited_count(self) -> int:
        """The number of commands that await a reply."""
        return len(self._in_order) + len(self._numbered)

    def _send_all(self) -> None:
        """Send the collected commands, with at most IN_FLIGHT_MAX awaited."""
        self._unsent_bytes = 0
        while self._unsent:
            self._attempt(self._send_portion)
            while self._awaited_count >= IN_FLIGHT_MAX:
                self._attempt(self._receive)

    def _attempt(self, work: Callable[[Connection], None]) -> None:
        """Run `work` with the connection; a failure becomes results. After an interrupt nothing more is sent."""
        try:
            work(self._connect())
        except ConnectionLost as lost:
            self._on_lost(lost)
        except DeadlineExceeded:
            self._on_silence()
        except KvdError as error:
            self._on_failure(error)
        except BaseException:
            self._failure = KvdError("the pipeline was interrupted")
            self._drop_connection()
            raise

    def _connect(self) -> Connection:
        """Return the pipeline's connection; open one if there is none. Raises KvdError."""
        if self._failure is not None:
            raise self._failure
        if self._pid != os.getpid():
            raise KvdError("the pipeline was begun before a fork: begin one in the child")
        if self._connection is None:
            until = time.monotonic() + self._pool.connect_timeout
            self._connection = self._pool.acquire(self._unsent[0].traits, until)
            self._progress_at = time.monotonic()
        return self._connection

    def _send_portion(self, connection: Connection) -> None:
        """Send a portion of the collected commands; process the replies that arrive meanwhile."""
        entries = [self._unsent.popleft() for _ in range(min(PORTION_COMMANDS, len(self._unsent)))]
        requests = connection.pack_requests([(entry.number, entry.body) for entry in entries])
        self._portion = (entries, requests)
        for entry in entries:
            if entry.number:
                self._numbered[entry.number] = entry
            else:
                self._in_order.append(entry)
        connection.transfer(b"".join(requests), self._deadline(), self._take)
        self._portion = ([], [])

    def _receive(self, connection: Connection) -> None:
        """Wait for replies and process them."""
        self._take(connection.receive(self._deadline()))

    def _deadline(self) -> float:
        """Return when the next reply is overdue, on the monotonic clock."""
        wait_s = max([entry.wait_s for entry in self._numbered.values()], default=0.0)
        return self._progress_at + self._pool.timeout + wait_s

    def _take(self, messages: Sequence[Sequence[bytes]]) -> None:
        """Process replies. Raises ConnectionLost for a reply that no command awaits."""
        results, in_order = self.results, self._in_order
        for parts in messages:
            entry = self._numbered.pop(parts[0], None) if parts[0] else in_order.popleft() if in_order else None
            if entry is None:
                raise ConnectionLost("a reply came that no command awaits")
            try:
                result = ok(decode(entry.traits, parts[-1])).result
                results[entry.position] = result if entry.convert is same else entry.convert(result)
            except KvdError as error:
                results[entry.position] = error
        self._progress_at = time.monotonic()

    def _on_lost(self, lost: ConnectionLost) -> None:
        """Queue again, after a break, the commands that are safe or unsent; the outcome of the others is unknown."""
        where = "" if self._connection is None else f" ({self._connection.endpoint}: {lost})"
        self._drop_connection()
        unsent = self._unsent_part(lost.sent_bytes)
        again = []
        for entry in self._take_awaited():
            if entry.position in unsent or entry.traits.is_safe:
                again.append(entry)
            else:
                self.results[entry.position] = connection_broke(entry.traits, where)
        self._resent.update([entry.position for entry in again if entry.position not in unsent])
        self._unsent.extendleft(reversed(again))
        if again and time.monotonic() > self._progress_at + self._pool.timeout:
            self._on_failure(not_sent(again[0].traits, where=where))

    def _unsent_part(self, sent_bytes: int | None) -> set[int]:
        """Return the positions of the commands in the current portion that have not left completely."""
        (entries, requests), self._portion = self._portion, ([], [])
        ends = accumulate(map(len, requests))
        return {
            entry.position
            for entry, end in zip(entries, ends, strict=True)
            if sent_bytes is not None and end > sent_bytes
        }

    def _on_silence(self) -> None:
        """Give up the commands in flight: no reply came in time."""
        where = "" if self._connection is None else f" ({self._connection.endpoint})"
        self._drop_connection()
        self._portion = ([], [])
        for entry in self._take_awaited():
            self.results[entry.position] = reply_missing(entry.traits, where)

    def _on_failure(self, error: KvdError) -> None:
        """Fail all commands, those collected later too: there will be no connection."""
        self._failure = error
        where = error.where if isinstance(error, ClientError) else ""
        for entry in [*self._take_awaited(), *self._unsent]:
            was_sent = entry.position in self._resent
            self.results[entry.position] = reply_missing(entry.traits, where) if was_sent else error
        self._unsent.clear()

    def _take_awaited(self) -> list[Entry]:
        """Return the commands that await a reply, in order, and forget them."""
        entries = sorted([*self._in_order, *self._numbered.values()], key=lambda entry: entry.position)
        self._in_order.clear()
        self._numbered.clear()
        return entries

    def _drop_connection(self) -> None:
        """Close the connection: its state is unknown."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
