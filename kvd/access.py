"""The access file as a frozen value, and the one rule that checks each command. Pure.

    [ada]                                # the client's name
    key = "..."                          # the public key: 40 characters, as `kvd keygen ada` prints them
    role = "write"                       # read; write, which includes read; or admin, which includes everything
    prefixes = ["user:", "session:"]     # only keys that begin with one of these; if left out: all keys

A client is identified by its key pair: everything here is looked up by public key. The name is only a label.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args

from kvd.commands.base import Command, Role, ServerCommand
from kvd.commands.key_specs import key_spec_of, keys_of, walk_commands
from kvd.errors import BadConfiguration, Denied
from kvd.limits import KEY_BYTES_MAX

ROLES: tuple[Role, ...] = get_args(Role)  # each one includes those before it
OPTIONS = ("key", "role", "prefixes")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEY_CHARACTERS = 40
# https://rfc.zeromq.org/spec/32/: five characters are the digits of 32 bits.
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
SHOWN_BYTES = 64


class Client(NamedTuple):
    """A client of the access file. No prefixes means all keys."""

    name: str
    role: Role
    prefixes: tuple[bytes, ...]

    def allows(self, name: bytes) -> bool:
        """Return whether the client may use a key, or all keys with a prefix."""
        return not self.prefixes or name.startswith(self.prefixes)


class Access(NamedTuple):
    """The clients by public key, and the name of the file for error messages."""

    clients: Mapping[str, Client]
    file: str

    def check(self, key: str, command: Command) -> None:
        """Raise Denied unless the client with this key may run the command and each command inside it."""
        client = self.client(key)
        for each in walk_commands(command):
            self._check_role(client, each)
            if client.prefixes and not isinstance(each, ServerCommand):
                self._check_names(client, each)

    def client(self, key: str) -> Client:
        """Return the client with a key; raises Denied."""
        client = self.clients.get(key)
        if client is None:
            raise Denied(f"the key {key or 'of this client'} is not (or no longer) in {self.file}")
        return client

    def _check_role(self, client: Client, command: Command) -> None:
        """Raise Denied unless the client's role allows a command."""
        if ROLES.index(command.role) > ROLES.index(client.role):
            raise Denied(
                f"{client.name} has the role {client.role}, and {command.command_name()} needs {command.role} "
                f"(see [{client.name}] in {self.file})"
            )

    def _check_names(self, client: Client, command: Command) -> None:
        """Raise Denied unless every key and prefix of a command begins with one of the client's prefixes."""
        is_named = False
        for name in keys_of(command):
            is_named = True
            if not client.allows(name):
                raise self._denial_of(client, command, display_name(name) if name else "all keys")
        # A command on entries without a key uses all of them, except a command that contains other commands.
        if not is_named and not key_spec_of(type(command)).commands:
            raise self._denial_of(client, command, "without a key")

    def _denial_of(self, client: Client, command: Command, what: str) -> Denied:
        """Return the error for a client that uses a key outside its prefixes."""
        own = ", ".join(map(display_name, client.prefixes))
        return Denied(
            f"{client.name} may not {command.command_name()} {what}: only keys that begin with {own} "
            f"(see [{client.name}] in {self.file})"
        )

    def may_watch(self, key: str, prefix: bytes) -> bool:
        """Return whether the client with a key may see all changes of a prefix."""
        client = self.clients.get(key)
        return client is not None and client.allows(prefix)

    def revokes_any(self, before: "Access") -> bool:
        """Return whether a client of `before` was removed or has other prefixes now. New clients do not count."""
        return any(
            key not in self.clients or self.clients[key].prefixes != client.prefixes
            for key, client in before.clients.items()
        )


def display_name(name: bytes) -> str:
    """Return a key or prefix for a sentence: quoted, and shortened if it is long."""
    return repr(name[:SHOWN_BYTES])[1:] + ("..." if len(name) > SHOWN_BYTES else "")


# The file


def parse_access(text: str, file: str) -> Access:
    """Return the access file in `text`; raises BadConfiguration with one line for each mistake."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(f"{file}: {error}") from None
    mistakes = [
        f"{location(text, file, name)}: [{name}] {what}"
        for name, table in tables.items()
        for what in _mistakes_in(name, table)
    ]
    mistakes += [f"{location(text, file, name)}: [{name}] {what}" for name, what in _duplicates(tables)]
    if not tables:
        mistakes = [f"{file}: no client in it: add the lines that `kvd keygen NAME` prints"]
    if mistakes:
        raise BadConfiguration("\n".join(mistakes))
    return Access({table["key"]: _client_of(name, table) for name, table in tables.items()}, file)


def _client_of(name: str, table: dict[str, Any]) -> Client:
    """Return the client in a valid table."""
    return Client(name, table["role"], tuple(prefix.encode() for prefix in table.get("prefixes", ())))


def location(text: str, file: str, name: str) -> str:
    """Return the file and the line of a table, or just the file."""
    head = re.search(rf"^[ \t]*\[?[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*[]=.]", text, re.MULTILINE)
    return f"{file}:{text.count(chr(10), 0, head.start()) + 1}" if head else file


def _mistakes_in(name: str, table: Any) -> Iterator[str]:
    """Yield the mistakes in a client's table."""
    if not isinstance(table, dict):
        yield "is not a table: a client is [NAME], then key = ... and role = ..."
        return
    if not NAME.fullmatch(name):
        yield "is not a name: 1 to 64 letters, digits, - and _"
    for option in table:
        if option not in OPTIONS:
            near = get_close_matches(option, OPTIONS, 1)
            yield f"has no option {option}" + (
                f": is it {near[0]}?" if near else f": the options are {', '.join(OPTIONS)}"
            )
    yield from _mistakes_in_key(table.get("key"))
    role = table.get("role")
    if role not in ROLES:
        yield f"needs a role: {', '.join(ROLES[:-1])} or {ROLES[-1]}" + (f", not {role!r}" if role else "")
    if "prefixes" in table:
        yield from _mistakes_in_prefixes(table["prefixes"], role)


def _mistakes_in_key(key: Any) -> Iterator[str]:
    """Yield the mistakes in a public key."""
    if key is None:
        yield "needs a key: the 40 characters that `kvd keygen` prints"
    elif not is_z85(key):
        yield "has an invalid key: a key has 40 characters, as `kvd keygen` prints them"


def is_z85(key: Any) -> bool:
    """Return whether a value is 40 characters of Z85, which encode 32 bytes."""
    if not isinstance(key, str) or len(key) != KEY_CHARACTERS or not set(key) <= set(Z85):
        return False
    return all(digits(key[at : at + 5]) < 2**32 for at in range(0, KEY_CHARACTERS, 5))


def digits(text: str) -> int:
    """Return the number that Z85 digits encode."""
    number = 0
    for character in text:
        number = number * len(Z85) + Z85.index(character)
    return number


def _mistakes_in_prefixes(prefixes: Any, role: Any) -> Iterator[str]:
    """Yield the mistakes in a client's prefixes."""
    if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
        yield 'has prefixes that are not an array of strings: prefixes = ["user:"]'
    elif not prefixes or not all(prefixes):
        yield "has an empty prefix, or no prefix: leave prefixes out for all keys"
    elif any(len(prefix.encode()) > KEY_BYTES_MAX for prefix in prefixes):
        yield f"has a prefix of more than {KEY_BYTES_MAX} bytes: no key is that long"
    elif role == "admin":
        yield "has prefixes and the role admin, which allows everything: leave one out"


def _duplicates(tables: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of clients with the key of another client."""
    seen: dict[str, str] = {}
    for name, table in tables.items():
        key = table.get("key") if isinstance(table, dict) else None
        if isinstance(key, str) and seen.setdefault(key, name) != name:
            yield name, f"has the key of [{seen[key]}]: each client needs its own"
