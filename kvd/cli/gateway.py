"""`kvd gateway http|grpc|tcp|nats`: other protocols, each in a process of its own that is a client of the daemon."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from kvd.cli.reaching import FILE
from kvd.errors import KvdError, StartError
from kvd.log import set_up

UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h


@click.group("gateway")
def gateway() -> None:
    """Let clients of other protocols in: HTTP, gRPC, TCP, NATS.

    A gateway is a client of the daemon like others, keeps nothing, and any number may run. The manual: kvd-gateway(8)
    """


def with_listen(default: str) -> Callable[..., Any]:
    """Give a command --listen."""
    return click.option(
        "--listen",
        multiple=True,
        help="ADDRESS:PORT, or unix:PATH; may be repeated. Sockets that systemd passes are served too. "
        f"[default: {default}]",
    )


with_token_file = click.option("--token-file", type=FILE, help="Who is let in, and as whom: see `kvd gateway token`.")
with_insecure = click.option(
    "--insecure", is_flag=True, help="Listen where others reach, though nobody is asked who he is."
)


@contextmanager
def sentences() -> Iterator[None]:
    """End with a sentence and an exit code."""
    set_up("info", "auto")
    try:
        yield
    except StartError as error:
        click.echo(f"kvd: {error}", err=True)
        sys.exit(error.exit_code)
    except KvdError as error:
        click.echo(f"kvd: {error}", err=True)
        sys.exit(UNAVAILABLE)


def room(name: str, extra: str) -> Any:
    """Return a gateway's module; without its extra, end with the sentence that names it."""
    try:
        return import_module(f"kvd.gateways.{name}")
    except ModuleNotFoundError as error:
        click.echo(f"kvd: this gateway needs the extra {extra}: pip install 'kvd[{extra}]' ({error})", err=True)
        sys.exit(UNAVAILABLE)


@gateway.command("token")
@click.argument("name")
def token_command(name: str) -> None:
    """Make a token for NAME: tell it on standard error, and print the lines for the token file.

    Example: kvd gateway token ada >>/etc/kvd/tokens.toml
    """
    tokens = import_module("kvd.gateways.tokens")
    if not tokens.NAME.fullmatch(name):
        raise click.BadParameter("a name has 1 to 64 letters, digits, - and _", param_hint="NAME")
    token = tokens.new_token()
    click.echo(f"the token of {name}, told this once: {token}", err=True)
    click.echo(tokens.table_of(name, token))
