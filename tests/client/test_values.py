"""Both clients accept, return and refuse the same: values, times, keys, codecs."""

import asyncio
import copy
import inspect
import pickle
import time
from datetime import UTC, datetime, timedelta

import pytest
from support.peers import FakeDaemon

from kvd import JSON, MSGPACK, AsyncClient, Client, KvdError, NotLetIn, Position
from kvd.limits import TTL_MS_MAX


@pytest.fixture(scope="module")
def endpoint():
    with FakeDaemon() as fake:
        yield fake.endpoint


async def finish(found):
    """Return what a call of the asyncio client comes to."""
    if inspect.isawaitable(found):
        return await found
    return [each async for each in found] if hasattr(found, "__aiter__") else found


@pytest.fixture(params=[Client, AsyncClient], ids=["blocking", "asyncio"])
def use(request, endpoint):
    """Return what lets a function use a client of either kind, and returns its result."""

    def use_blocking(function, **options):
        with Client(endpoint, **options) as kv:
            found = function(kv)
            return list(found) if hasattr(found, "__next__") else found

    def use_asyncio(function, **options):
        async def main():
            async with AsyncClient(endpoint, **options) as kv:
                return await finish(function(kv))

        return asyncio.run(main())

    return use_blocking if request.param is Client else use_asyncio


class Bytes(bytes):
    """As those of numpy."""


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("é", "é".encode()),
        (5, b"5"),
        (2.5, b"2.5"),
        (Bytes(b"x"), b"x"),
        (bytearray(b"y"), b"y"),
        (memoryview(b"z"), b"z"),
    ],
)
def test_a_value_is_text_bytes_or_a_number(use, value, stored):
    use(lambda kv: kv.set("a", value))
    assert use(lambda kv: kv.get("a")) == stored
    if not isinstance(value, int | float):
        use(lambda kv: kv.set(value, "by key"))
        assert use(lambda kv: kv.get(stored)) == b"by key"


@pytest.mark.parametrize("value", [None, True, [1], {"a": 1}, object()])
def test_another_value_is_refused_and_the_codec_is_named(use, value):
    with pytest.raises(TypeError, match="give the client a codec"):
        use(lambda kv: kv.set("a", value))


@pytest.mark.parametrize("codec", [JSON, MSGPACK, (pickle.dumps, pickle.loads)])
def test_a_codec_takes_and_returns_what_it_can(use, codec):
    def with_codec(function):
        return use(function, codec=codec)

    value = {"name": "Ada", "seen": [1, 2.5, None]}
    with_codec(lambda kv: kv.set("a", value))
    assert with_codec(lambda kv: kv.get("a")) == value
    assert with_codec(lambda kv: kv["a"]) == value
    assert with_codec(lambda kv: kv.multiget("a", "none")) == [value, None]
    assert with_codec(lambda kv: kv.entry("a", value=True)).value == value
    assert with_codec(lambda kv: kv.take("a")) == value
    with_codec(lambda kv: kv.multiset([("a", value), ("b", None)]))
    assert with_codec(lambda kv: kv["b"]) is None
    assert with_codec(lambda kv: kv.items("a")) == [(b"a", value)]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_with_decode_str_goes_in_and_comes_out(use, encoding):
    def text(function):
        return use(function, decode=encoding)

    text(lambda kv: kv.set("clé", "é"))
    assert text(lambda kv: kv.append("clé", "à")) == 2 * len("é".encode(encoding))
    assert text(lambda kv: kv.get("clé")) == "éà"
    assert text(lambda kv: kv.keys("cl")) == ["clé"]  # a key is UTF-8 in every client
    assert use(lambda kv: kv.get("clé")) == "éà".encode(encoding)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"ttl": timedelta(minutes=1)}, 60),
        ({"ttl": 0.0001}, 0.001),
        ({"ttl": 1.5}, 1.5),
        ({"at": datetime.fromtimestamp(4_000_000_000, UTC)}, None),
        ({"at": datetime.fromtimestamp(4_000_000_000)}, None),  # noqa: DTZ006  # local time, as datetime means it
        ({"at": 4_000_000_000_000}, None),
    ],
)
def test_a_time_is_seconds_a_timedelta_unix_milliseconds_or_a_datetime(use, options, seconds):
    for write in (lambda kv: kv.set("a", "1", **options), lambda kv: kv.multiset({"a": "1"}, **options)):
        use(write)
        if seconds is None:
            assert use(lambda kv: kv.entry("a")).expires == 4_000_000_000_000
        else:
            assert use(lambda kv: kv.ttl("a")) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ttl": True}, "ttl has to be a number of seconds above 0, or a timedelta, not True"),
        ({"ttl": -1}, "ttl has to be .* not -1"),
        ({"ttl": float("inf")}, "ttl has to be .* not inf"),
        ({"ttl": "5"}, "ttl has to be .* not '5'"),
        ({"ttl": TTL_MS_MAX}, f"ttl can be {TTL_MS_MAX // 1000} seconds at most"),
        ({"at": int(time.time()) + 60}, "looks like seconds: give .*000, or a datetime"),
        ({"at": 1.5}, "at has to be Unix milliseconds or a datetime, not 1.5"),
        ({"at": True}, "at has to be Unix milliseconds or a datetime, not True"),
    ],
)
def test_a_time_that_is_none_is_refused_by_name_and_in_the_callers_unit(use, options, words):
    for misuse in (lambda kv: kv.set("a", "1", **options), lambda kv: kv.getex("a", **options)):
        with pytest.raises(ValueError, match=words):
            use(misuse)


@pytest.mark.parametrize("misuse", [lambda kv: kv.take_first("a", wait=61), lambda kv: kv.changes(0, wait=61)])
def test_a_wait_that_is_too_long_is_refused_in_seconds(use, misuse):
    with pytest.raises(ValueError, match="wait can be 60 seconds at most, not 61"):
        use(misuse)


def test_keys_are_given_one_by_one_in_lists_or_not_at_all(use):
    use(lambda kv: kv.multiset({"a": "1", "b": "2"}))
    for name, expected in (("multiget", [b"1", b"2"]), ("exists", 2), ("delete", 2), ("clear", 0)):
        assert use(lambda kv, name=name: getattr(kv, name)(["a"], (key for key in "b"))) == expected
        assert use(lambda kv, name=name: getattr(kv, name)()) == ([] if name == "multiget" else 0)
        assert use(lambda kv, name=name: getattr(kv, name)([])) == ([] if name == "multiget" else 0)
    assert use(lambda kv: kv.multiset({})) is None
    assert use(lambda kv: kv.multiset([])) is None


def test_a_client_is_like_a_mapping(use):
    use(lambda kv: kv.set("a", "1"))
    assert use(lambda kv: kv["a"]) == b"1"
    assert b"a" in use(lambda kv: kv if isinstance(kv, AsyncClient) else iter(kv))
    with pytest.raises(KeyError):
        use(lambda kv: kv["no such key"])


def test_what_only_the_blocking_client_can_is_refused_by_the_asyncio_client(endpoint):
    kv = AsyncClient(endpoint)
    for misuse in (lambda: "a" in kv, lambda: iter(kv), lambda: list(kv)):
        with pytest.raises(TypeError):
            misuse()


def test_the_blocking_client_deletes_as_a_mapping(endpoint):
    with Client(endpoint) as kv:
        kv["a"] = 5
        assert "a" in kv
        del kv["a"]
        assert "a" not in kv
        with pytest.raises(KeyError):
            del kv["a"]


def test_the_revision_of_a_write_is_returned_also_under_once(use):
    assert use(lambda kv: kv.with_revision().set("a", "1"))[1] == use(lambda kv: kv.entry("a")).revision
    assert use(lambda kv: kv.once().with_revision().incr("a")) == (2, use(lambda kv: kv.entry("a")).revision)
    assert use(lambda kv: kv.once().with_revision().get("a"))[0] == b"2"
    assert use(lambda kv: kv.with_revision().clear()) == (0, 0)


def test_a_token_is_text_or_bytes(use):
    use(lambda kv: kv.clear("a"))
    for token in ("a token of ours", b"a token of ours"):
        assert use(lambda kv, token=token: kv.once(token).incr("a")) == 1


@pytest.mark.parametrize("cls", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": None}, "timeout has to be a number of seconds above 0"),
        ({"timeout": 0}, "timeout has to be a number of seconds above 0"),
        ({"connect_timeout": -1}, "connect_timeout has to be"),
        ({"endpoint": 5}, "an endpoint is a text such as tcp://127.0.0.1:7411, or a list of them, not 5"),
        ({"endpoint": [None]}, "an endpoint is a text"),
        ({"endpoint": "tcp://127.0.0.1:99999"}, "the port has to be 1 to 65535"),
        ({"decode": "no such encoding"}, "decode has to be an encoding such as 'utf-8'"),
        ({"decode": "utf-8", "codec": JSON}, "decode and codec exclude each other"),
        ({"codec": 5}, "codec has to be kvd.JSON, kvd.MSGPACK or a pair of functions, not 5"),
        ({"codec": (str,)}, "codec has to be"),
    ],
)
def test_an_argument_of_a_client_that_is_none_is_refused_by_name(cls, options, words):
    with pytest.raises(ValueError, match=words):
        cls(**options)


@pytest.mark.parametrize("cls", [Client, AsyncClient])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_client_is_not_copied(cls, duplicate):
    with pytest.raises(TypeError, match="cannot be copied or pickled: make one where it is used"):
        duplicate(cls())


@pytest.mark.parametrize("since", [-1, "5", True, 1.5])
def test_a_revision_to_watch_from_that_is_none_is_refused(use, since):
    with pytest.raises(ValueError, match="since has to be a revision or the position of a watch, not"):
        use(lambda kv: kv.watch(since=since))


def test_a_pattern_is_refused(use):
    with pytest.raises(ValueError, match="keys takes a prefix, not a pattern"):
        use(lambda kv: kv.keys("*"))


@pytest.mark.parametrize("name", ["watch", "mirror", "lock", "pipeline", "get"])
def test_a_closed_client_says_so(use, name):
    def after_close(kv):
        if isinstance(kv, Client):
            kv.close()
            return getattr(kv, name)(*(["a"] if name in ("lock", "get") else []))
        return after_close_async(kv)

    async def after_close_async(kv):
        await kv.close()
        return await finish(getattr(kv, name)(*(["a"] if name in ("lock", "get") else [])))

    with pytest.raises(KvdError, match="the client is closed"):
        use(after_close)


def test_a_position_is_a_pair_that_can_be_stored():
    position = Position(5, "9d01c2a4e6f80b35")
    assert Position(*tuple(position)) == position
    assert not issubclass(NotLetIn, ValueError)
