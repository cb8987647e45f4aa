"""Who may do what: the access file as a frozen value, and the one rule that each command is checked by. Pure.

    [ada]                                # the client's name
    key = "..."                          # her public key: 40 characters, as `kvd keygen ada` prints them
    role = "write"                       # read; write, which is read too; or admin, which is everything
    prefixes = ["user:", "session:"]     # only keys that begin with one of these; left out: all keys

Somebody is who has the secret of a key, so all here goes by public key; the name is for people.
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

POWERS: tuple[Role, ...] = get_args(Role)  # each one is those before it, too
OPTIONS = ("key", "role", "prefixes")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEY_CHARACTERS = 40
# https://rfc.zeromq.org/spec/32/: five characters are the digits of 32 bits.
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
SHOWN_BYTES = 64


class Client(NamedTuple):
    """One who is let in. No prefixes: all keys."""

    name: str
    role: Role
    prefixes: tuple[bytes, ...]

    def allows(self, name: bytes) -> bool:
        """Return whether a key, or all keys with a prefix, are the client's to reach."""
        return not self.prefixes or name.startswith(self.prefixes)


class Access(NamedTuple):
    """The clients by public key, and the file that says so."""

    clients: Mapping[str, Client]
    file: str

    def check(self, key: str, command: Command) -> None:
        """Raise Denied unless the client with this key may run the command, and each one inside it."""
        client = self.client(key)
        for each in walk_commands(command):
            self._check_power(client, each)
            if client.prefixes and not isinstance(each, ServerCommand):
                self._check_names(client, each)

    def client(self, key: str) -> Client:
        """Return the client with a key; Denied if there is none, any more."""
        client = self.clients.get(key)
        if client is None:
            raise Denied(f"the key {key or 'of this client'} is not, or no longer, in {self.file}")
        return client

    def _check_power(self, client: Client, command: Command) -> None:
        """Raise Denied unless the role is enough for a command."""
        if POWERS.index(command.role) > POWERS.index(client.role):
            raise Denied(
                f"{client.name} has the role {client.role}, and {command.command_name()} needs {command.role} "
                f"(see [{client.name}] in {self.file})"
            )

    def _check_names(self, client: Client, command: Command) -> None:
        """Raise Denied unless all that a command names begins with one of the client's prefixes."""
        is_named = False
        for name in keys_of(command):
            is_named = True
            if not client.allows(name):
                raise self._denied_name(client, command, display_name(name) if name else "all keys")
        # What works on entries and names none reaches all of them, but for a command that is others together.
        if not is_named and not key_spec_of(type(command)).commands:
            raise self._denied_name(client, command, "without a key")

    def _denied_name(self, client: Client, command: Command, what: str) -> Denied:
        """Return the error of a client who reaches beyond what is its own."""
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
        """Return whether somebody may read other keys than before, or nothing any more; who is new does not count."""
        return any(
            key not in self.clients or self.clients[key].prefixes != client.prefixes
            for key, client in before.clients.items()
        )


def display_name(name: bytes) -> str:
    """Return a key or prefix as a sentence shows it: quoted, and not all of a long one."""
    return repr(name[:SHOWN_BYTES])[1:] + ("..." if len(name) > SHOWN_BYTES else "")


# The file


def parse_access(text: str, file: str) -> Access:
    """Return what an access file says; raises BadConfiguration with a line for each thing that is wrong."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(f"{file}: {error}") from None
    wrong = [
        f"{location(text, file, name)}: [{name}] {what}"
        for name, table in tables.items()
        for what in _problems(name, table)
    ]
    wrong += [f"{location(text, file, name)}: [{name}] {what}" for name, what in _duplicates(tables)]
    if not tables:
        wrong = [f"{file}: it names nobody: add what `kvd keygen NAME` prints"]
    if wrong:
        raise BadConfiguration("\n".join(wrong))
    return Access({table["key"]: _client_of(name, table) for name, table in tables.items()}, file)


def _client_of(name: str, table: dict[str, Any]) -> Client:
    """Return the client that a table without faults tells of."""
    return Client(name, table["role"], tuple(prefix.encode() for prefix in table.get("prefixes", ())))


def location(text: str, file: str, name: str) -> str:
    """Return the file and the line where a table begins, or just the file."""
    head = re.search(rf"^[ \t]*\[?[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*[]=.]", text, re.MULTILINE)
    return f"{file}:{text.count(chr(10), 0, head.start()) + 1}" if head else file


def _problems(name: str, table: Any) -> Iterator[str]:
    """Yield what is wrong with a client's table."""
    if not isinstance(table, dict):
        yield "is no table: a client is [NAME], then key = ... and role = ..."
        return
    if not NAME.fullmatch(name):
        yield "is no name: 1 to 64 letters, digits, - and _"
    for option in table:
        if option not in OPTIONS:
            near = get_close_matches(option, OPTIONS, 1)
            yield f"has no option {option}" + (f": is it {near[0]}?" if near else f": there are {', '.join(OPTIONS)}")
    yield from _key_faults(table.get("key"))
    role = table.get("role")
    if role not in POWERS:
        yield f"needs a role: {', '.join(POWERS[:-1])} or {POWERS[-1]}" + (f", not {role!r}" if role else "")
    if "prefixes" in table:
        yield from _prefixes_faults(table["prefixes"], role)


def _key_faults(key: Any) -> Iterator[str]:
    """Yield what is wrong with a public key."""
    if key is None:
        yield "needs a key: the 40 characters that `kvd keygen` prints"
    elif not is_z85(key):
        yield "has a key that is none: it has 40 characters, as `kvd keygen` prints them"


def is_z85(key: Any) -> bool:
    """Return whether a value is 40 characters of Z85, which is 32 bytes."""
    if not isinstance(key, str) or len(key) != KEY_CHARACTERS or not set(key) <= set(Z85):
        return False
    return all(digits(key[at : at + 5]) < 2**32 for at in range(0, KEY_CHARACTERS, 5))


def digits(text: str) -> int:
    """Return the number that digits of Z85 say."""
    number = 0
    for character in text:
        number = number * len(Z85) + Z85.index(character)
    return number


def _prefixes_faults(prefixes: Any, role: Any) -> Iterator[str]:
    """Yield what is wrong with a client's prefixes."""
    if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
        yield 'has prefixes that are no array of strings: prefixes = ["user:"]'
    elif not prefixes or not all(prefixes):
        yield "has a prefix that is empty, or none: leave prefixes out for all keys"
    elif any(len(prefix.encode()) > KEY_BYTES_MAX for prefix in prefixes):
        yield f"has a prefix of more than {KEY_BYTES_MAX} bytes: no key is so long"
    elif role == "admin":
        yield "has prefixes and the role admin, which is everything: leave one out"


def _duplicates(tables: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names whose key is another's already: nobody could tell who it is."""
    seen: dict[str, str] = {}
    for name, table in tables.items():
        key = table.get("key") if isinstance(table, dict) else None
        if isinstance(key, str) and seen.setdefault(key, name) != name:
            yield name, f"has the key of [{seen[key]}]: each client has its own"
