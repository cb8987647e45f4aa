"""What is closed at the end of a `with`, or of an `async with`."""

from types import TracebackType
from typing import Self


class ContextManaged:
    """Closed at the end of a `with`."""

    def close(self) -> None:
        """Close."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class AsyncContextManaged:
    """Closed at the end of an `async with`."""

    async def close(self) -> None:
        """Close."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()
