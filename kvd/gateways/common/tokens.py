"""Bearer tokens (RFC 6750): a file says which token is whose, and by which key he comes to the daemon.

    [ada]                                  # a name
    token = "sha256:9f86d081884c7d65..."   # of what `kvd gateway token ada` prints; the token itself is nowhere
    key = "/etc/kvd/ada.key_secret"        # who he is to the daemon (kvd keygen ada); left out: the gateway itself

What somebody may do is the daemon's to say: the roles and prefixes of its access file hold through a gateway.
"""

import hashlib
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kvd.access import NAME, location
from kvd.client.keys import Keys, read_keys
from kvd.errors import BadConfiguration

OPTIONS = ("token", "key")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TOKEN_BYTES = 32
BEARER = "bearer "


class Principal(NamedTuple):
    """One who has a token. No keys: the gateway's own."""

    name: str
    keys: Keys | None


Tokens = Mapping[str, Principal]  # by digest


def digest(token: str) -> str:
    """Return what the file has of a token. It is long and random, so it needs neither salt nor a slow hash."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def bearer(authorization: str) -> str | None:
    """Return the token that an Authorization brings (RFC 6750, 2.1), None when it brings none."""
    is_one = authorization[: len(BEARER)].lower() == BEARER
    return authorization[len(BEARER) :].strip() if is_one else None


def new_token() -> str:
    """Return a token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def table_of(name: str, token: str) -> str:
    """Return the lines of the token file that let the holder of a token in."""
    return f'[{name}]\ntoken = "{digest(token)}"\n# key = "{name}.key_secret"  # who {name} is to the daemon'


def read_tokens(path: Path, server_key: Path | None) -> Tokens:
    """Return what a token file says; raises BadConfiguration with a line for each thing that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's, and of tables in tables without end
        raise BadConfiguration(f"{path}: {error}") from None
    found: dict[str, Principal] = {}
    wrong = []
    for name, table in tables.items():
        faults = list(problems_of(name, table))
        if not faults and table["token"] in found:
            faults = [f"has the token of [{found[table['token']].name}]: each has its own"]
        if not faults:
            try:
                found[table["token"]] = Principal(name, keys_of(path, table, server_key))
            except ValueError as error:
                faults = [str(error)]
        wrong += [f"{location(text, str(path), name)}: [{name}] {fault}" for fault in faults]
    if not tables:
        wrong = [f"{path}: it names nobody: add what `kvd gateway token NAME` prints"]
    if wrong:
        raise BadConfiguration("\n".join(wrong))
    return found


def problems_of(name: str, table: Any) -> Iterator[str]:
    """Yield what is wrong with a table."""
    if not isinstance(table, dict):
        yield "is no table: a token is [NAME], then token = ..."
        return
    if not NAME.fullmatch(name):
        yield "is no name: 1 to 64 letters, digits, - and _"
    for option in table:
        if option not in OPTIONS:
            yield f"has no option {option}: there are {', '.join(OPTIONS)}"
    token, key = table.get("token"), table.get("key")
    if not (isinstance(token, str) and DIGEST.fullmatch(token)):
        yield "needs a token: sha256: and 64 hexadecimal digits, as `kvd gateway token NAME` prints them"
    if key is not None and not isinstance(key, str):
        yield "has a key that is none: it is the path of a certificate with its secret key"


def keys_of(path: Path, table: dict[str, Any], server_key: Path | None) -> Keys | None:
    """Return the keys that a table names; a relative path is one beside the file. Raises ValueError."""
    if "key" not in table:
        return None
    if server_key is None:
        raise ValueError("has a key, and --server-key does not say which daemon is meant")
    return read_keys(str(path.parent / table["key"]), str(server_key))
