"""The types of command arguments.

A type has its bounds (`msgspec.Meta`, checked by the decoder in C) and, where the words of the shell differ from the
array of the wire, how it is typed: `argument` names a positional word, `option` is a keyword such as `EX seconds` or
`KEEPTTL`.
"""

from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from kvd import limits


class Argument(NamedTuple):
    """The name of a positional argument in the shell, and how many units of the wire one of its units is."""

    placeholder: str
    scale: int = 1


class Option(NamedTuple):
    """A keyword of the shell that fills a field: followed by an argument, or alone for true."""

    word: str
    placeholder: str | None = None
    scale: int = 1


def argument(placeholder: str, scale: int = 1) -> Any:
    """Return the annotation of a positional argument."""
    return Meta(extra={"argument": Argument(placeholder, scale)})


def option(word: str, placeholder: str | None = None, scale: int = 1) -> Any:
    """Return the annotation of an option; a field may have several."""
    return Meta(extra={word: Option(word, placeholder, scale)})


Key = Annotated[bytes, Meta(min_length=1, max_length=limits.KEY_BYTES_MAX, title="key")]
Prefix = Annotated[bytes, Meta(max_length=limits.KEY_BYTES_MAX, title="prefix")]
Value = Annotated[bytes, Meta(max_length=limits.VALUE_BYTES_MAX, title="value")]
Text = Annotated[bytes, Meta(max_length=limits.PING_BYTES_MAX, title="text")]
Name = Annotated[str, Meta(max_length=64, title="name")]
Token = Annotated[bytes, Meta(min_length=8, max_length=limits.TOKEN_BYTES_MAX, title="token")]
Keys = Annotated[list[Key], Meta(min_length=1, max_length=limits.KEYS_MAX)]
Pairs = Annotated[list[tuple[Key, Value]], Meta(min_length=1, max_length=limits.KEYS_MAX)]

Integer = Annotated[int, Meta(ge=-limits.INTEGER_MAX - 1, le=limits.INTEGER_MAX, title="integer")]
Revision = Annotated[int, Meta(ge=0, le=limits.INTEGER_MAX, title="revision")]
Duration = Annotated[int, Meta(ge=1, le=limits.TTL_MS_MAX, title="milliseconds")]
Time = Annotated[int, Meta(ge=1, le=limits.TIME_MS_MAX, title="unix-ms")]
Wait = Annotated[int, Meta(ge=0, le=limits.WAIT_MS_MAX, title="milliseconds")]
