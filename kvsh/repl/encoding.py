"""prompt-toolkit's text to the grammar's bytes and back. Bytes that are not UTF-8 are surrogates in the text."""


def as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def as_text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
