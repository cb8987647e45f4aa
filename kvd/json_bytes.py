"""Bytes in JSON: a string when they are UTF-8, else {"base64": "..."}. Pure."""

import base64
import binascii
from types import NoneType
from typing import Any

from kvd.errors import BadArgument

BASE64 = "base64"
SLICE = 256 * 1024  # characters, of which 4 are 3 bytes
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
    """Return a result, or a part of one, as JSON has it."""
    if isinstance(value, bytes):
        return encode_bytes(value)
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, dict):
        return {name: to_json(each) for name, each in value.items()}
    return value


def encode_bytes(data: bytes) -> str | dict[str, str]:
    """Return bytes as JSON has them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {BASE64: base64.b64encode(data).decode()}


def decode_bytes(value: Any) -> bytes:
    """Return the bytes that JSON says; raises BadArgument."""
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and value.keys() == {BASE64} and isinstance(value[BASE64], str):
            return _bytes_in_base64(value[BASE64])
    except (binascii.Error, ValueError) as error:  # a lone surrogate, which is no UTF-8, among them
        raise BadArgument(f'bytes are a string, or {{"{BASE64}": "..."}}: {error}') from None
    raise BadArgument(f'bytes are a string, or {{"{BASE64}": "..."}}, not {kind_of(value)}')


def _bytes_in_base64(text: str) -> bytes:
    """Return the bytes. Raises ValueError. To decode 16 MiB takes 60 ms: other threads run between two slices."""
    if "=" in text[:-2]:
        raise ValueError("Excess padding")
    return b"".join([base64.b64decode(text[at : at + SLICE], validate=True) for at in range(0, len(text), SLICE)])


def kind_of(value: Any) -> str:
    """Return what a value is called in JSON."""
    return KINDS.get(type(value), type(value).__name__)
