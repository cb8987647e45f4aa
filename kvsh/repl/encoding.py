"""Between prompt-toolkit's text and the grammar's bytes. Bytes that are no UTF-8 travel as surrogates, both ways."""


def as_bytes(text: str) -> bytes:
    """Return typed text as bytes."""
    return text.encode(errors="surrogateescape")


def as_text(data: bytes) -> str:
    """Return bytes as text to be typed."""
    return data.decode(errors="surrogateescape")
