"""The examples in the client's docstrings, run in the order they stand; and the same names on every client."""

import asyncio
import doctest
import inspect
import subprocess
import sys
from unittest.mock import AsyncMock, create_autospec

import pytest
from support.typing_check import type_problems

import kvd
from kvd import errors
from kvd.client import Client
from kvd.client.aio import AsyncClient
from kvd.client.async_views import AsyncOnce, AsyncPipeline, AsyncTransaction
from kvd.client.method import method
from kvd.client.methods import Methods
from kvd.client.prefix_methods import PrefixMethods
from kvd.client.server_methods import ServerMethods
from kvd.client.sync import Pipeline
from kvd.client.views import OnceClient, TransactionBuilder

TASKS = """
import asyncio

from kvd import AsyncClient


async def main() -> bytes | None:
    async with AsyncClient() as kv, asyncio.TaskGroup() as group:
        task: asyncio.Task[bytes | None] = asyncio.create_task(kv.get("a"))
        added: asyncio.Task[int] = group.create_task(kv.incr("n"))
        both: tuple[bytes | None, int] = await asyncio.gather(kv.get("a"), kv.incr("n"))
        return await task or both[0] or b"%d" % added.result()
"""


METHODS = {
    name: member
    for cls in (Methods, PrefixMethods, ServerMethods)
    for name, member in vars(cls).items()
    if isinstance(member, method)
}


def docs():
    """Yield name and docstring of every method that callers use."""
    yield "Client", inspect.getdoc(Client)
    for cls in (Methods, PrefixMethods, ServerMethods, Client):
        for name, member in vars(cls).items():
            is_repeated = cls is Client and name in METHODS
            if not name.startswith("_") and not is_repeated and inspect.getdoc(member):
                yield f"{cls.__name__}.{name}", inspect.getdoc(member)


def test_the_examples_in_the_docstrings_are_true(kv):
    runner = doctest.DocTestRunner(verbose=False)
    names = {"kv": kv}
    count = 0
    for name, text in docs():
        test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
        count += len(test.examples)
        runner.run(test, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0
    assert count > 30


def test_every_method_has_an_example():
    assert [name for name, value in METHODS.items() if ">>> " not in value.__doc__] == []


@pytest.mark.parametrize(
    "cls", [AsyncClient, AsyncOnce, AsyncPipeline, AsyncTransaction, OnceClient, Pipeline, TransactionBuilder]
)
def test_every_client_has_the_same_methods(cls):
    assert set(METHODS) <= set(dir(cls))


def test_asyncio_has_the_same_names_as_the_blocking_client():
    public = {name for name in dir(Client) if not name.startswith("_")} - {"stream"}
    assert public <= set(dir(AsyncClient)) | set(vars(AsyncClient()))


def test_a_signature_is_that_of_the_command():
    assert list(inspect.signature(Client.get).parameters) == ["self", "key"]
    assert list(inspect.signature(Client().set).parameters) == [
        *("key", "value", "ttl", "at", "keep_ttl", "nx", "xx", "revision", "previous")
    ]
    assert str(inspect.signature(AsyncClient.incr)).endswith("by: int = 1) -> int")


def test_an_autospec_refuses_what_the_client_refuses():
    kv = create_autospec(Client, instance=True)
    kv.get.return_value = b"x"
    assert kv.get("a") == b"x"
    for misuse in (kv.get, lambda: kv.get("a", "b"), lambda: kv.set("a", "b", ex=1)):
        with pytest.raises(TypeError):
            misuse()
    with pytest.raises(AttributeError):
        _ = kv.hgetall


def test_methods_of_the_asyncio_client_are_coroutine_functions():
    for name in METHODS:
        assert inspect.iscoroutinefunction(getattr(AsyncClient, name)), name
        assert not inspect.iscoroutinefunction(getattr(Client, name)), name
    kv = create_autospec(AsyncClient, instance=True)
    assert isinstance(kv.get, AsyncMock)
    kv.get.return_value = b"x"
    assert asyncio.run(kv.get("a")) == b"x"


@pytest.mark.types
def test_a_type_checker_knows_what_a_task_of_a_method_returns(tmp_path):
    assert type_problems({"tasks": TASKS}, tmp_path) == ""
    wrong = TASKS.replace("added: asyncio.Task[int]", "added: asyncio.Task[str]")
    assert "[arg-type]" in type_problems({"wrong_tasks": wrong}, tmp_path)


def subclasses(cls):
    return {cls, *(name for each in cls.__subclasses__() for name in subclasses(each))}


def test_all_that_a_client_may_raise_is_importable_from_kvd():
    raised = subclasses(errors.Refused) | subclasses(errors.ClientError) | {errors.KvdError}
    names = {cls.__name__ for cls in raised if cls.__module__ == "kvd.errors"}
    assert names <= set(kvd.__all__)
    assert all(getattr(kvd, name) is getattr(errors, name) for name in names)


def test_every_public_name_of_kvd_is_there_and_listed():
    assert set(kvd.__all__) == {*kvd._MODULES, "__version__"}
    assert set(kvd.__all__) <= set(dir(kvd))
    for name in kvd.__all__:
        assert getattr(kvd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        _ = kvd.Klient


def test_kvd_loads_nothing_until_it_is_asked_for():
    text = "import sys, kvd; print(sorted(name for name in sys.modules if name.startswith(('kvd', 'asyncio', 'zmq'))))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['kvd', 'kvd.version']"
