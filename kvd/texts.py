"""Bytes in JSON: a string when they are UTF-8, else {"base64": "..."}. Pure."""

import base64
import binascii
from typing import Any

from kvd.errors import BadArgument

BASE64 = "base64"


def shown(value: Any) -> Any:
    """Return a result, or a part of one, as JSON has it."""
    if isinstance(value, bytes):
        return said(value)
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    return value


def said(data: bytes) -> str | dict[str, str]:
    """Return bytes as JSON has them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {BASE64: base64.b64encode(data).decode()}


def meant(value: Any) -> bytes:
    """Return the bytes that JSON says; raises BadArgument."""
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and value.keys() == {BASE64} and isinstance(value[BASE64], str):
            return base64.b64decode(value[BASE64], validate=True)
    except (binascii.Error, ValueError) as error:  # a lone surrogate, which is no UTF-8, among them
        raise BadArgument(f"bytes are a string, or {{{BASE64!r}: ...}}: {error}") from None
    raise BadArgument(f'bytes are a string, or {{"{BASE64}": "..."}}, not {type(value).__name__}')
