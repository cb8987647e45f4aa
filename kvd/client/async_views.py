"""Views of an asyncio client: writes under ONCE, results with revisions, pipelines, transactions."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from kvd.client.method import Awaited, AwaitedWithRevision, Call, R, Runs
from kvd.client.methods import Methods
from kvd.client.values import Codec, K, Text, V, key_bytes, same
from kvd.client.views import Gatherer, TransactionBuilder, once
from kvd.commands import Command, Write
from kvd.commands.base import Ok
from kvd.errors import KvdError
from kvd.limits import IN_FLIGHT_MAX


class AsyncAnswering(Protocol):
    """The part of a client that a view needs."""

    codec: Codec[Any, Any]

    async def answer(self, command: Command) -> Ok:
        raise NotImplementedError

    async def call(self, call: Call[R]) -> R:
        raise NotImplementedError


class AsyncOnce(Methods[K, V], Awaited):
    """A client that runs each write under ONCE."""

    def __init__(self, client: AsyncAnswering, token: Text | None) -> None:
        self.client = client
        self.codec = client.codec
        self.token = None if token is None else key_bytes(token)

    async def answer(self, command: Command) -> Ok:
        """Run a write under ONCE and a read as it is; return the result and the revision it reflects."""
        return await self.client.answer(once(command, self.token) if isinstance(command, Write) else command)

    async def call(self, call: Call[R]) -> R:
        return call.convert(None if call.command is None else (await self.answer(call.command)).result)

    def with_revision(self) -> "AsyncRevisionClient[K, V]":
        """Return a view in which each method returns (result, revision)."""
        return AsyncRevisionClient(self)

    async def run(self, command: Runs[R]) -> R:
        """Run any write under ONCE, any read as it is."""
        assert isinstance(command, Command)
        return await self.call(Call(command, same))


class AsyncRevisionClient(Methods[K, V], AwaitedWithRevision):
    """A client in which each method returns (result, revision)."""

    def __init__(self, client: AsyncAnswering) -> None:
        self.client = client
        self.codec = client.codec

    async def call(self, call: Call[R]) -> tuple[R, int]:
        """Run a call; return its result and the revision it reflects (0 when there were no keys)."""
        if call.command is None:
            return call.convert(None), 0
        answer = await self.client.answer(call.command)
        return call.convert(answer.result), answer.revision


class AsyncPipeline(Gatherer[K, V]):
    """Collects commands and sends them, many in flight, at the end of its `async with`."""

    def __init__(self, client: AsyncAnswering) -> None:
        super().__init__(client.codec)
        self.client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send all commands and wait for them; raise the first error. `results` has all outcomes."""
        if kind is not None:
            return
        window = asyncio.Semaphore(IN_FLIGHT_MAX)

        async def run_call(call: Call[Any]) -> Any:
            async with window:
                return await self.client.call(call)

        self.results = await asyncio.gather(*map(run_call, self.calls), return_exceptions=True)
        failed = next((result for result in self.results if isinstance(result, KvdError)), None)
        if failed is not None:
            raise failed


class AsyncTransaction(TransactionBuilder[K, V]):
    """Collects commands and sends them as one TRANSACTION at the end of its `async with`."""

    def __init__(self, client: AsyncAnswering, conditions: Mapping[Any, int]) -> None:
        super().__init__(client, conditions)  # type: ignore[arg-type]  # `__aexit__` runs it
        self.async_client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run the transaction, unless an error leaves the block."""
        if kind is not None:
            return
        command = self.command()
        self.on_results((await self.async_client.answer(command)).result if command.commands else [])
