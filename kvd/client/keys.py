"""CURVE keys: the client's pair and the daemon's public key. The files are ZeroMQ's (RFC 4/ZPL)."""

from pathlib import Path
from typing import NamedTuple


class Keys(NamedTuple):
    """A client's key pair and the daemon's public key, each 40 characters of Z85."""

    public: bytes
    secret: bytes
    server: bytes


def read_keys(own: str, server: str) -> Keys:
    """Return the keys in two certificate files: the client's with its secret, and the daemon's public one.

    Raises ValueError, which names the file, when a file cannot be read or lacks a key.
    """
    public, secret = read_certificate(own)
    if secret is None:
        raise ValueError(f"{own} has no secret key: give the file that ends in key_secret")
    return Keys(public, secret, read_certificate(server)[0])


def read_certificate(name: str) -> tuple[bytes, bytes | None]:
    """Return the public and the secret key of a certificate file. Raises ValueError."""
    try:
        lines = Path(name).read_bytes().splitlines()
    except OSError as error:
        raise ValueError(f"cannot read {name}: {error.strerror or error}") from None
    fields = [line.strip().partition(b"=") for line in lines if not line.lstrip().startswith(b"#")]
    keys = {field.strip(): value.strip(b" \t'\"") for field, _, value in fields}
    if b"public-key" not in keys:
        raise ValueError(f"{name} is not a CURVE certificate: it has no public key")
    return keys[b"public-key"], keys.get(b"secret-key")


# Z85, the printable form of keys (ZeroMQ RFC 32): five characters for four bytes.
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_Z85_VALUES = {character: value for value, character in enumerate(_Z85)}


def decode_z85(text: bytes) -> bytes:
    """Return the bytes of a key in Z85. Raises ValueError."""
    numbers = []
    for at in range(0, len(text), 5):
        number = 0
        for character in text[at : at + 5]:
            if character not in _Z85_VALUES:
                raise ValueError("a key has a character that is not in Z85")
            number = number * 85 + _Z85_VALUES[character]
        numbers.append(number)
    if len(text) % 5 or any(number >= 2**32 for number in numbers):
        raise ValueError("a key is not Z85")
    return b"".join([number.to_bytes(4, "big") for number in numbers])
