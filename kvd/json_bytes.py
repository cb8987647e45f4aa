"""Bytes in JSON: a string when they are UTF-8, else {"base64": "..."}. Pure."""

import base64
import binascii
from types import NoneType
from typing import Any

from kvd.errors import BadArgument

BASE64 = "base64"
SLICE = 256 * 1024  # characters; 4 characters encode 3 bytes
KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    NoneType: "null",
}


def to_json(value: Any) -> Any:
    """Return a result, or a part of one, in its JSON form."""
    if isinstance(value, bytes):
        return encode_bytes(value)
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, dict):
        return {name: to_json(each) for name, each in value.items()}
    return value


def encode_bytes(data: bytes) -> str | dict[str, str]:
    """Return bytes in their JSON form."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {BASE64: base64.b64encode(data).decode()}


def decode_bytes(value: Any) -> bytes:
    """Return the bytes of a JSON form; raises BadArgument."""
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and value.keys() == {BASE64} and isinstance(value[BASE64], str):
            return _bytes_in_base64(value[BASE64])
    except (binascii.Error, ValueError) as error:  # including a lone surrogate, which UTF-8 cannot encode
        raise BadArgument(f'bytes are a string, or {{"{BASE64}": "..."}}: {error}') from None
    raise BadArgument(f'bytes are a string, or {{"{BASE64}": "..."}}, not {kind_of(value)}')


def _bytes_in_base64(text: str) -> bytes:
    """Decode base64. Raises ValueError. 16 MiB take 60 ms: other threads can run between two slices."""
    if "=" in text[:-2]:
        raise ValueError("Excess padding")
    return b"".join([base64.b64decode(text[at : at + SLICE], validate=True) for at in range(0, len(text), SLICE)])


def kind_of(value: Any) -> str:
    """Return the JSON name of a value's type."""
    return KINDS.get(type(value), type(value).__name__)
