"""Makes a method that is written once a method of each kind of client, at run time and for the type checker."""

import inspect
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, get_args, overload

from msgspec import Struct

from kvd.client.values import Codec
from kvd.commands import Command

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Call(Struct, Generic[R_co], gc=False):
    """A command and the function that converts its result. Without keys `command` is None, and nothing is sent."""

    command: Command | None
    convert: Callable[[Any], R_co]


class Runs(Protocol[R_co]):
    """A command, for the type checker: `run` has the type of its result."""

    def run(self, entries: Any, now: int, /) -> R_co: ...


class Direct:
    """A client with methods that return results."""

    codec: Codec[Any, Any]

    def call(self, call: Call[R]) -> R:
        """Run a call and return its result."""
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:

        def run(self: Direct, *args: Any, **kwargs: Any) -> Any:
            return self.call(build(self.codec, *args, **kwargs))

        return run


class Awaited:
    """A client with methods to await."""

    codec: Codec[Any, Any]

    async def call(self, call: Call[R]) -> R:
        """Run a call and return its result."""
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:

        async def run(self: Awaited, *args: Any, **kwargs: Any) -> Any:
            return await self.call(build(self.codec, *args, **kwargs))

        return run


class AwaitedWithRevision:
    """A client with methods to await, which return (result, revision)."""

    codec: Codec[Any, Any]

    async def call(self, call: Call[R]) -> tuple[R, int]:
        """Run a call; return its result and a revision."""
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:
        return Awaited.make_method(build)


class WithRevision:
    """A client with methods that return (result, revision)."""

    codec: Codec[Any, Any]

    def call(self, call: Call[R]) -> tuple[R, int]:
        """Run a call; return its result and a revision."""
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:
        return Direct.make_method(build)


class Gathered:
    """A collector of calls; their results come later."""

    codec: Codec[Any, Any]

    def call(self, call: Call[Any]) -> None:
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:

        def gather(self: Gathered, *args: Any, **kwargs: Any) -> None:
            self.call(build(self.codec, *args, **kwargs))

        return gather


class method(Generic[P, R]):  # noqa: N801  # a decorator
    """A function from arguments to a Call. Each kind of client gets a real method made from it.

    To the type checker it is a descriptor that knows the return type in each kind of client.
    """

    def __init__(self, build: Callable[Concatenate[Any, P], Call[R]]) -> None:
        self.build: Callable[Concatenate[Any, P], Call[R]] = (
            build.__func__ if isinstance(build, staticmethod) else build
        )
        update_wrapper(self, self.build)  # type: ignore[arg-type]  # for the doctests

    @overload
    def __get__(self, owner: None, cls: type) -> Callable[Concatenate[Any, P], Any]: ...
    @overload
    def __get__(self, owner: Direct, cls: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, owner: WithRevision, cls: type) -> Callable[P, tuple[R, int]]: ...
    @overload
    def __get__(self, owner: AwaitedWithRevision, cls: type) -> Callable[P, Coroutine[Any, Any, tuple[R, int]]]: ...
    @overload
    def __get__(self, owner: Awaited, cls: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __get__(self, owner: Gathered, cls: type) -> Callable[P, None]: ...
    def __get__(self, owner: Any, cls: type) -> Any:
        """Return itself: a client class has functions in its place."""
        return self


def install(cls: type, name: str, build: Callable[..., Call[Any]]) -> None:
    """Add a method to a client class, with the name, the documentation and the signature of its builder."""
    function = cls.make_method(build)  # type: ignore[attr-defined]
    function.__name__, function.__qualname__ = name, f"{cls.__name__}.{name}"
    function.__doc__, function.__module__ = build.__doc__, cls.__module__
    builder = inspect.signature(build)
    result = get_args(builder.return_annotation)
    function.__signature__ = builder.replace(
        parameters=[
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY),
            *list(builder.parameters.values())[1:],
        ],
        return_annotation=result[0] if result else builder.return_annotation,
    )
    setattr(cls, name, function)
