"""Converts Python keys, values and times to the wire's and back. Pure.

Keys are str or bytes-like. Values may also be int or float, or anything that the client's codec takes.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic

from msgspec import msgpack

from kvd.limits import TTL_MS_MAX

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    K = TypeVar("K", default=bytes)  # the type of returned keys
    V = TypeVar("V", default=bytes)  # the type of returned values
else:
    from typing import TypeVar

    K = TypeVar("K")
    V = TypeVar("V")

Text = str | bytes | bytearray | memoryview
Value = Text | int | float
Seconds = int | float | timedelta
Pairs = Mapping[Any, Any] | Iterable[tuple[Text, Any]]
# In milliseconds, an `at` below this is before 1973: it is probably in seconds.
UNIX_MS_MIN = 100_000_000_000


def key_bytes(key: Text) -> bytes:
    """Return the bytes of a key; str is UTF-8. Raises TypeError."""
    if type(key) is bytes:
        return key
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key)
    raise TypeError(f"a key is str or bytes, not {type(key).__name__}")


def value_bytes(value: Value) -> bytes:
    """Return the bytes of a value; str is UTF-8, a number its decimal digits. Raises TypeError."""
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value).encode()
    raise TypeError(
        f"a value is str, bytes, int or float, not {type(value).__name__}: give the client a codec for others"
    )


def flat_keys(keys: Iterable[Any]) -> list[bytes]:
    """Return keys that were given one by one, in lists, or both, as one list. Raises TypeError."""
    keys = list(keys)
    kinds = set(map(type, keys))
    if kinds == {str}:  # a hundred keys take 4 us here, and 50 us below
        return [key.encode() for key in keys]
    if kinds == {bytes}:
        return keys
    flat: list[bytes] = []
    for key in keys:
        if isinstance(key, Iterable) and not isinstance(key, str | bytes | bytearray | memoryview):
            flat += map(key_bytes, key)
        else:
            flat.append(key_bytes(key))
    return flat


def pairs_of(pairs: Pairs) -> Iterable[tuple[Any, Any]]:
    """Return the pairs of a mapping, or those that were given."""
    return pairs.items() if isinstance(pairs, Mapping) else pairs


def check_seconds(name: str, value: Any) -> float:
    """Return a time in seconds. Raises ValueError, which names the argument."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"{name} has to be a number of seconds above 0, or a timedelta, not {value!r}")
    return float(seconds)


def milliseconds(name: str, value: Seconds | None, most_ms: int = TTL_MS_MAX) -> int | None:
    """Return seconds as the wire's milliseconds, rounded up so that nothing expires early. Raises ValueError."""
    if value is None:
        return None
    result_ms = math.ceil(check_seconds(name, value) * 1000)
    if result_ms > most_ms:
        raise ValueError(f"{name} can be {most_ms // 1000} seconds at most, not {value!r}")
    return result_ms


def unix_milliseconds(value: int | datetime | None) -> int | None:
    """Return a point in time in Unix milliseconds, from those or a datetime (naive: local time). Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return math.ceil(value.timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(  # noqa: TRY004  # a ValueError, as for any invalid time
            f"at has to be Unix milliseconds or a datetime, not {value!r}"
        )
    if 0 < value < UNIX_MS_MIN:
        raise ValueError(f"at is in Unix milliseconds, and {value} looks like seconds: give {value}000, or a datetime")
    return value


def same(result: Any) -> Any:
    """Return a result unchanged."""
    return result


class Codec(Generic[K, V]):
    """How a client returns keys and values, and encodes values. This one returns bytes."""

    key: Callable[[bytes], K] = staticmethod(same)
    value: Callable[[bytes], V] = staticmethod(same)
    value_or_none: Callable[[bytes | None], V | None] = staticmethod(same)
    encode: Callable[[Any], bytes] = staticmethod(value_bytes)
    encode_part: Callable[[Any], bytes] = staticmethod(value_bytes)  # of what is appended to a value

    def keys(self, keys: list[bytes]) -> list[K]:
        return [self.key(key) for key in keys]

    def values(self, values: list[bytes | None]) -> list[V | None]:
        return [self.value_or_none(value) for value in values]


class RawCodec(Codec[bytes, bytes]):
    """Keys and values are returned as bytes, untouched."""

    keys = staticmethod(same)  # type: ignore[assignment]
    values = staticmethod(same)  # type: ignore[assignment]


RAW = RawCodec()


class TextCodec(Codec[str, str]):
    """Keys and values are returned as str. Bytes that are not of the encoding raise UnicodeDecodeError.

    Keys are UTF-8, whatever the encoding of the values: every client sends `str` keys as UTF-8.
    """

    def __init__(self, encoding: str) -> None:
        """Raises LookupError for an encoding that Python does not know."""
        "".encode(encoding)
        self.encoding = encoding

    def key(self, key: bytes) -> str:
        return key.decode()

    def value(self, value: bytes) -> str:
        return value.decode(self.encoding)

    def value_or_none(self, value: bytes | None) -> str | None:
        return None if value is None else value.decode(self.encoding)

    def encode(self, value: Any) -> bytes:
        return value.encode(self.encoding) if isinstance(value, str) else value_bytes(value)

    encode_part = encode


class FunctionCodec(Codec[bytes, V]):
    """Values go through a pair of functions; keys stay bytes."""

    def __init__(self, encode: Callable[[Any], bytes | str], decode: Callable[[bytes], V]) -> None:
        """`encode` returns bytes or str; `decode` takes bytes."""
        self._encode = encode
        self._decode = decode

    def encode(self, value: Any) -> bytes:
        return key_bytes(self._encode(value))

    def value(self, value: bytes) -> V:
        return self._decode(value)

    def value_or_none(self, value: bytes | None) -> V | None:
        return None if value is None else self._decode(value)


JSON: Codec[bytes, Any] = FunctionCodec(json.dumps, json.loads)
MSGPACK: Codec[bytes, Any] = FunctionCodec(msgpack.encode, msgpack.decode)

AnyCodec = Codec[Any, Any] | tuple[Callable[[Any], bytes | str], Callable[[bytes], Any]]


def codec_of(decode: str | None, codec: AnyCodec | None) -> Codec[Any, Any]:
    """Return the codec for the arguments of a client. Raises ValueError."""
    if decode is not None and codec is not None:
        raise ValueError("decode and codec exclude each other")
    if decode is not None:
        try:
            return TextCodec(decode)
        except (LookupError, TypeError):
            raise ValueError(f"decode has to be an encoding such as 'utf-8', not {decode!r}") from None
    if isinstance(codec, tuple) and [callable(each) for each in codec] == [True, True]:
        return FunctionCodec(*codec)
    if codec is not None and not isinstance(codec, Codec):
        raise ValueError(f"codec has to be kvd.JSON, kvd.MSGPACK or a pair of functions, not {codec!r}")
    return RAW if codec is None else codec
