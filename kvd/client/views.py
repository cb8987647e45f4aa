"""Views of a blocking client: writes under ONCE, results with revisions, transactions."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from kvd.client.method import Call, Direct, Gathered, R, Runs, WithRevision
from kvd.client.methods import Methods
from kvd.client.values import Codec, K, Text, V, key_bytes, same
from kvd.commands import Command, Write
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Ok


class Answering(Protocol):
    """The part of a client that a view needs."""

    codec: Codec[Any, Any]

    def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects."""


class OnceClient(Methods[K, V], Direct):
    """A client that runs each write under ONCE."""

    def __init__(self, client: Answering, token: Text | None) -> None:
        self.client = client
        self.codec = client.codec
        self.token = None if token is None else key_bytes(token)

    def answer(self, command: Command) -> Ok:
        """Run a write under ONCE and a read as it is; return the result and the revision it reflects."""
        return self.client.answer(once(command, self.token) if isinstance(command, Write) else command)

    def call(self, call: Call[R]) -> R:
        return call.convert(None if call.command is None else self.answer(call.command).result)

    def with_revision(self) -> "RevisionClient[K, V]":
        """Return a view in which each method returns (result, revision)."""
        return RevisionClient(self)

    def run(self, command: Runs[R]) -> R:
        """Run any write under ONCE, any read as it is."""
        assert isinstance(command, Command)
        return self.call(Call(command, same))  # type: ignore[no-any-return]


def once(command: Write, token: bytes | None) -> Once:
    """Return a write under ONCE, with a new token if none is given."""
    return Once(os.urandom(16) if token is None else token, command)


class RevisionClient(Methods[K, V], WithRevision):
    """A client in which each method returns (result, revision)."""

    def __init__(self, client: Answering) -> None:
        self.client = client
        self.codec = client.codec

    def call(self, call: Call[R]) -> tuple[R, int]:
        """Run a call; return its result and the revision it reflects (0 when there were no keys)."""
        if call.command is None:
            return call.convert(None), 0
        answer = self.client.answer(call.command)
        return call.convert(answer.result), answer.revision


class Gatherer(Methods[K, V], Gathered):
    """Collects calls until the end of its `with`; then `results` has their results."""

    def __init__(self, codec: Codec[Any, Any]) -> None:
        self.codec = codec
        self.calls: list[Call[Any]] = []
        self.results: list[Any] = []

    def call(self, call: Call[Any]) -> None:
        self.calls.append(call)

    def run(self, command: Command) -> None:
        self.call(Call(command, same))


class TransactionBuilder(Gatherer[K, V]):
    """Collects commands and sends them as one TRANSACTION at the end of its `with`."""

    def __init__(self, client: Answering, conditions: Mapping[Any, int]) -> None:
        super().__init__(client.codec)
        self.client = client
        self.conditions = conditions

    def command(self) -> Transaction:
        """Return the transaction."""
        conditions = [(key_bytes(key), revision) for key, revision in self.conditions.items()]
        commands = [call.command for call in self.calls if call.command is not None]
        return Transaction(conditions, commands)  # type: ignore[arg-type]  # checked by the daemon

    def on_results(self, results: list[Any]) -> None:
        remaining = iter(results)
        self.results = [call.convert(None if call.command is None else next(remaining)) for call in self.calls]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run the transaction, unless an error leaves the block."""
        if kind is not None:
            return
        command = self.command()
        self.on_results(self.client.answer(command).result if command.commands else [])
