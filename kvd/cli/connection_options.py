"""The options of commands that connect to a daemon: its endpoint, and the keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kvd.client import DEFAULT_ENDPOINT
from kvd.client.keys import Keys, read_keys
from kvd.errors import BadConfiguration

FILE = click.Path(path_type=Path, dir_okay=False)


def with_daemon(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --url, --key and --server-key."""
    for option in (
        click.option("--server-key", type=FILE, help="The daemon's public certificate."),
        click.option("--key", type=FILE, help="This client's certificate with its secret key (kvd keygen)."),
        click.option("--url", default=DEFAULT_ENDPOINT, show_default=True, help="The daemon's endpoint for commands."),
    ):
        command = option(command)
    return command


def own_keys(key: Path | None, server_key: Path | None) -> Keys | None:
    """Return the keys for the connection, or None without any. Raises BadConfiguration."""
    if key is None and server_key is None:
        return None
    if key is None or server_key is None:
        raise BadConfiguration("--key and --server-key go together: this client's key and the daemon's public key")
    try:
        return read_keys(str(key), str(server_key))
    except ValueError as error:
        raise BadConfiguration(str(error)) from error
