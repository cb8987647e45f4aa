"""Endpoints as users write them, and the socket addresses behind each, in the order in which they are tried.

    tcp://HOST:PORT      all addresses that HOST resolves to, IPv6 too
    ipc://PATH           a unix socket; ipc://@NAME is one in Linux's abstract namespace

Several endpoints are separated by commas. The client uses the first that answers.
"""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

DEFAULT_ENDPOINT = "tcp://127.0.0.1:7411"
ENDPOINT_VARIABLE = "KVD_URL"
DEFAULT_PORT = 7411
PORT_MAX = 65_535


class Address(NamedTuple):
    """The address that a socket connects to, and its name in errors."""

    family: int
    target: Any
    label: str


class Endpoint(NamedTuple):
    """One endpoint: a host and a port, or the path of a unix socket."""

    text: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    def addresses(self) -> list[Address]:
        """Return the addresses to try. May query a name server. Raises OSError when the name does not resolve."""
        if self.is_unix:
            target = "\0" + self.path[1:] if self.path.startswith("@") else self.path
            return [Address(socket.AF_UNIX, target, self.path)]
        infos = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return [Address(family, target, _label_of(target)) for family, _, _, _, target in infos]

    @property
    def is_numeric(self) -> bool:
        """Whether its addresses are known without a name server."""
        return self.is_unix or self.host.replace(".", "").isdigit() or ":" in self.host


def _label_of(target: Any) -> str:
    """Return the name of a TCP address in errors."""
    host, port = str(target[0]), target[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_endpoints(text: str | Sequence[str] | None) -> tuple[Endpoint, ...]:
    """Parse one text or several; None means KVD_URL, or the default. Raises ValueError."""
    if text is None:
        text = os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, Sequence) or not all(isinstance(each, str) for each in texts):
        raise ValueError(f"an endpoint is a text such as {DEFAULT_ENDPOINT}, or a list of them, not {text!r}")
    parts = [part.strip() for each in texts for part in each.split(",")]
    endpoints = tuple([parse_endpoint(part) for part in parts if part])
    if not endpoints:
        raise ValueError("no endpoint is given: tcp://HOST:PORT or ipc://PATH")
    return endpoints


def parse_endpoint(text: str) -> Endpoint:
    """Parse one endpoint. Raises ValueError with the reason."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("tcp", "ipc"):
        hint = _did_you_mean(rest if separator else text)
        raise ValueError(f"{text!r} is not an endpoint: it has to be tcp://HOST:PORT or ipc://PATH{hint}")
    if scheme == "ipc":
        return _unix_endpoint(text, rest)
    host, colon, port = rest.rpartition(":")
    if not colon or port.endswith("]"):
        raise ValueError(f"{text!r} is not an endpoint: the port is missing{_did_you_mean(rest)}")
    host = host.removeprefix("[").removesuffix("]")
    if not host or host == "*":
        raise ValueError(f"{text!r} is not an endpoint: the host is missing")
    if not _is_host(host):
        raise ValueError(f"{text!r} is not an endpoint: {host!r} is not the name of a host")
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= PORT_MAX:
        raise ValueError(f"{text!r} is not an endpoint: the port has to be 1 to {PORT_MAX}, not {port!r}")
    return Endpoint(text, host, int(port))


def _is_host(host: str) -> bool:
    """Return whether a name can be looked up: no label is empty or too long."""
    if ":" in host:
        return True  # an IPv6 address
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _unix_endpoint(text: str, path: str) -> Endpoint:
    """Parse the endpoint of a unix socket. Raises ValueError."""
    if not path or path == "@" or "\0" in path:
        raise ValueError(f"{text!r} is not an endpoint: the path is missing")
    size_max = 107  # sun_path has 108 bytes, the last of which is 0
    if len(os.fsencode(path)) > size_max:
        raise ValueError(f"{text!r} is not an endpoint: the path of a unix socket has at most {size_max} bytes")
    return Endpoint(text, path=path)


def _did_you_mean(text: str) -> str:
    """Return a suggestion for an endpoint without a scheme or with a wrong one; empty if the intent is unclear."""
    if text.startswith(("/", "./", "../")):
        return f" (did you mean ipc://{text}?)"
    host, _, port = text.removesuffix("/").rpartition(":")
    if host and port.isdigit():
        return f" (did you mean tcp://{host}:{port}?)"
    name = text.removesuffix("/")
    is_host = (name and not set(name) & set("/:@ ")) or (name.startswith("[") and name.endswith("]"))
    return f" (did you mean tcp://{name}:{DEFAULT_PORT}?)" if is_host else ""


def parse_url(url: str) -> tuple[str, dict[str, str]]:
    """Return the endpoints of a URL, and the options after `?`. Raises ValueError."""
    endpoints, separator, query = url.partition("?")
    try:
        options = dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True)) if separator else {}
    except ValueError:
        raise ValueError(f"the options of {url!r} are not NAME=VALUE&NAME=VALUE") from None
    return endpoints, options


def socket_access_problem(endpoint: Endpoint) -> str:
    """Return why this user may not use an existing unix socket; empty if they may, or if there is no socket."""
    if not endpoint.is_unix or endpoint.path.startswith("@") or os.access(endpoint.path, os.R_OK | os.W_OK):
        return ""
    path = Path(endpoint.path)
    try:
        group = path.group()
    except PermissionError:
        return f"this user may not enter the directory {path.parent}"
    except (OSError, KeyError, NotImplementedError):
        return ""
    return f"{path} is for members of the group {group}: `usermod -aG {group} NAME` as root, then log in again"


def changes_endpoint(commands: str, announced: Sequence[str]) -> str:
    """Return the endpoint that publishes changes: of those that INFO announces, one of the same kind as `commands`.

    A wildcard host stands for the host that was dialled.
    """
    scheme = commands.partition(":")[0]
    chosen = next((each for each in announced if each.startswith(f"{scheme}:")), announced[0])
    for wildcard in ("tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"):
        if chosen.startswith(wildcard) and commands.startswith("tcp://"):
            return f"{commands.rpartition(':')[0]}:{chosen.rpartition(':')[2]}"
    return chosen
