"""CURVE keys: who the client is, and which daemon it talks to. The files are those of `zmq.auth` (ZPL)."""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple


class Keys(NamedTuple):
    """A client's key pair and the daemon's public key, each 40 characters of Z85."""

    public: bytes
    secret: bytes
    server: bytes


def read_keys(own: str, server: str) -> Keys:
    """Return the keys in two certificate files: ours with its secret, and the daemon's public one.

    Raises ValueError, with the file's name, when a file cannot be read or lacks what it must have.
    """
    public, secret = certificate(own)
    if secret is None:
        raise ValueError(f"{own} has no secret key: give the file whose name ends in key_secret")
    return Keys(public, secret, certificate(server)[0])


def certificate(name: str) -> tuple[bytes, bytes | None]:
    """Return the public and the secret key of a certificate file. Raises ValueError."""
    try:
        with Path(name).open("rb"):
            pass  # load_certificate tells of any file it cannot open that it does not exist
        return import_module("zmq.auth").load_certificate(name)  # type: ignore[no-any-return]  # costs 3 ms
    except OSError as error:
        raise ValueError(f"cannot read {name}: {error.strerror or error}") from None
    except ValueError:
        raise ValueError(f"{name} is no CURVE certificate: it has no public key") from None
