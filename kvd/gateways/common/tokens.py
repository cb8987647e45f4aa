"""Bearer tokens (RFC 6750). The token file names the clients and the key that each uses at the daemon.

    [ada]                                  # a name
    token = "sha256:9f86d081884c7d65..."   # the digest of the token that `kvd gateway token ada` printed
    key = "/etc/kvd/ada.key_secret"        # the client's key (kvd keygen ada); optional: else the gateway's own key

The daemon decides what a client may do: the roles and prefixes of its access file apply to requests of a gateway.
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
    """The owner of a token. Without keys, requests use the gateway's own."""

    name: str
    keys: Keys | None


Tokens = Mapping[str, Principal]  # by digest


def digest(token: str) -> str:
    """Return a token's digest for the file. A token is long and random, so it needs neither salt nor a slow hash."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def bearer(authorization: str) -> str | None:
    """Return the token of an Authorization header (RFC 6750, 2.1), or None."""
    is_bearer = authorization[: len(BEARER)].lower() == BEARER
    return authorization[len(BEARER) :].strip() if is_bearer else None


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def table_of(name: str, token: str) -> str:
    """Return the lines of the token file for a token."""
    return f'[{name}]\ntoken = "{digest(token)}"\n# key = "{name}.key_secret"  # the key of {name} at the daemon'


def read_tokens(path: Path, server_key: Path | None) -> Tokens:
    """Parse a token file. Raises BadConfiguration, with a line for each error in the file."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8, or tables nested too deeply
        raise BadConfiguration(f"{path}: {error}") from None
    tokens: dict[str, Principal] = {}
    errors = []
    for name, table in tables.items():
        problems = list(problems_of(name, table))
        if not problems and table["token"] in tokens:
            problems = [f"has the token of [{tokens[table['token']].name}]: each has its own"]
        if not problems:
            try:
                tokens[table["token"]] = Principal(name, keys_of(path, table, server_key))
            except ValueError as error:
                problems = [str(error)]
        errors += [f"{location(text, str(path), name)}: [{name}] {problem}" for problem in problems]
    if not tables:
        errors = [f"{path}: it has no tokens: add the lines that `kvd gateway token NAME` prints"]
    if errors:
        raise BadConfiguration("\n".join(errors))
    return tokens


def problems_of(name: str, table: Any) -> Iterator[str]:
    """Yield the errors of a table."""
    if not isinstance(table, dict):
        yield "is not a table: a token is [NAME], then token = ..."
        return
    if not NAME.fullmatch(name):
        yield "is not a name: a name has 1 to 64 letters, digits, - and _"
    for option in table:
        if option not in OPTIONS:
            yield f"has an unknown option {option}: the options are {', '.join(OPTIONS)}"
    token, key = table.get("token"), table.get("key")
    if not (isinstance(token, str) and DIGEST.fullmatch(token)):
        yield "needs a token: sha256: and 64 hexadecimal digits, as `kvd gateway token NAME` prints them"
    if key is not None and not isinstance(key, str):
        yield "has a key that is not a string: it is the path of a certificate with its secret key"


def keys_of(path: Path, table: dict[str, Any], server_key: Path | None) -> Keys | None:
    """Return the keys that a table names; a relative path starts at the file's directory. Raises ValueError."""
    if "key" not in table:
        return None
    if server_key is None:
        raise ValueError("has a key, which needs --server-key, the daemon's public key")
    return read_keys(str(path.parent / table["key"]), str(server_key))
