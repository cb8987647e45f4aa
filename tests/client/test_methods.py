"""The examples in the client's docstrings, run in the order they stand; and the same names on every client."""

import doctest
import inspect

import pytest

from kvd.client import Client
from kvd.client.aio import AsyncClient, AsyncOnce, AsyncPipeline, AsyncTransaction
from kvd.client.methods import Methods, method
from kvd.client.sync import OnceClient, Pipeline, TransactionBuilder


def docs():
    """Yield name and docstring of every method that callers use."""
    yield "Client", inspect.getdoc(Client)
    for cls in (Methods, Client):
        for name, member in vars(cls).items():
            is_repeated = cls is Client and name in vars(Methods)
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
    without = [
        name for name, value in vars(Methods).items() if isinstance(value, method) and ">>> " not in value.__doc__
    ]
    assert without == []


@pytest.mark.parametrize(
    "cls", [AsyncClient, AsyncOnce, AsyncPipeline, AsyncTransaction, OnceClient, Pipeline, TransactionBuilder]
)
def test_every_client_has_the_same_methods(cls):
    names = {name for name, value in vars(Methods).items() if isinstance(value, method)}
    assert names <= set(dir(cls))


def test_asyncio_has_the_same_names_as_the_blocking_client():
    public = {name for name in dir(Client) if not name.startswith("_")} - {"stream"}
    assert public <= set(dir(AsyncClient)) | set(vars(AsyncClient()))
