"""`kvd gateway http|grpc|tcp|nats`: other protocols, each in a process of its own that is a client of the daemon."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from kvd.cli.connection_options import FILE, own_keys, with_daemon
from kvd.cli.exits import UNAVAILABLE, fail
from kvd.errors import KvdError, StartError
from kvd.limits import TCP_CONNECTIONS_MAX
from kvd.log import set_up


@click.group("gateway")
def gateway() -> None:
    """Serve other protocols: HTTP, gRPC, TCP, NATS.

    A gateway is an ordinary client of the daemon. It stores nothing, and any number can run. The manual:
    kvd-gateway(8)
    """


def _with_listen(default: str, systemd: str = "Sockets passed by systemd are served too. ") -> Callable[..., Any]:
    """Add --listen to a command."""
    return click.option(
        "--listen",
        multiple=True,
        help=f"ADDRESS:PORT, or unix:PATH; may be repeated. {systemd}[default: {default}]",
    )


with_insecure = click.option(
    "--insecure",
    is_flag=True,
    help="Allow listening, without authentication, on addresses that other machines can reach.",
)


def _with_gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of GatewayOptions to a command, which is called with them as its first argument."""

    @wraps(command)
    def run(
        *,
        key: Path | None,
        server_key: Path | None,
        insecure: bool,
        tls_cert: Path | None,
        tls_key: Path | None,
        **rest: Any,
    ) -> None:
        own = {name: rest.pop(name) for name in ("url", "listen", "token_file")}
        with _report_errors():
            gateway_options = import_module("kvd.gateways.common.options").GatewayOptions(
                keys=own_keys(key, server_key),
                server_key=server_key,
                is_insecure=insecure,
                certificate=tls_cert,
                certificate_key=tls_key,
                **own,
            )
            command(gateway_options, **rest)

    for option in (
        click.option("--tls-key", type=FILE, help="The certificate's private key."),
        click.option("--tls-cert", type=FILE, help="Serve TLS with this certificate (PEM, with its chain)."),
        with_insecure,
        click.option("--token-file", type=FILE, help="Accepted tokens and their keys: see `kvd gateway token`."),
    ):
        run = option(run)
    return with_daemon(run)


@contextmanager
def _report_errors() -> Iterator[None]:
    """Report errors with a message and an exit code."""
    set_up("info", "auto")
    try:
        yield
    except StartError as error:
        fail(error.exit_code, str(error))
    except KvdError as error:
        fail(UNAVAILABLE, str(error))


def _load_gateway(name: str, extra: str) -> Any:
    """Import a gateway's module. If its extra is not installed, exit with a message that names it."""
    try:
        return import_module(f"kvd.gateways.{name}")
    except ModuleNotFoundError as error:
        fail(UNAVAILABLE, f"this gateway needs the extra {extra}: pip install 'kvd-server[{extra}]' ({error})")


@gateway.command("token")
@click.argument("name")
def token_command(name: str) -> None:
    """Create a token for NAME, and print its entry for the token file.

    The token itself is printed to standard error. The entry, which has only its digest, is printed to standard output.

    Example: kvd gateway token ada >>/etc/kvd/tokens.toml
    """
    tokens = import_module("kvd.gateways.common.tokens")
    if not tokens.NAME.fullmatch(name):
        raise click.BadParameter("a name has 1 to 64 letters, digits, - and _", param_hint="NAME")
    token = tokens.new_token()
    click.echo(f"the token of {name}, shown only now: {token}", err=True)
    click.echo(tokens.table_of(name, token))


@gateway.command("http")
@_with_listen("127.0.0.1:7480")
@click.option("--host", "hosts", multiple=True, help="An accepted name in the Host header; may be repeated.")
@click.option("--origin", "origins", multiple=True, help="An origin that may use the gateway (CORS); may be repeated.")
@click.option(
    "--drain",
    "drain_s",
    type=click.FloatRange(0, 50),
    default=0.0,
    help="Seconds to report not ready before shutting down.",
)
@_with_gateway_options
def http_command(options: Any, *, hosts: tuple[str, ...], origins: tuple[str, ...], drain_s: float) -> None:
    """Serve HTTP: REST, JSON, changes, metrics, and a web page.

    Changes are sent as server-sent events or over WebSockets. The page is at /ui, the metrics at /metrics.

    This gateway needs the extra kvd-server[http]: pip install 'kvd-server[http]'

    Example: kvd gateway http --url tcp://127.0.0.1:7411 --listen 127.0.0.1:7480
    """
    server = _load_gateway("http.server", "http")
    factory = partial(server.Gateway, options, hosts=hosts, origins=origins, drain_s=drain_s)
    _load_gateway("common.runner", "http").run(factory, server.new_event_loop)


@gateway.command("grpc")
@_with_listen("127.0.0.1:50051", systemd="")
@_with_gateway_options
def grpc_command(options: Any) -> None:
    """Serve gRPC: kvs2.Kvs2, and kvd.v1.Kvd with all commands and Watch.

    This gateway needs the extra kvd-server[grpc]: pip install 'kvd-server[grpc]'

    Example: kvd gateway grpc --url tcp://127.0.0.1:7411 --listen 127.0.0.1:50051
    """
    _load_gateway("common.runner", "grpc").run(partial(_load_gateway("grpc.server", "grpc").Gateway, options))


@gateway.command("tcp")
@with_daemon
@_with_listen("127.0.0.1:7413")
@with_insecure
@click.option(
    "--width",
    type=click.Choice(["u16", "u32"]),
    default="u16",
    show_default=True,
    help="Size of the command number.",
)
@click.option(
    "--connections",
    type=click.IntRange(1),
    default=TCP_CONNECTIONS_MAX,
    show_default=True,
    help="The maximum number of connections.",
)
def tcp_command(  # its options
    *,
    url: str,
    key: Path | None,
    server_key: Path | None,
    listen: tuple[str, ...],
    insecure: bool,
    width: str,
    connections: int,
) -> None:
    """Serve a small TCP protocol: GET, SET, CLEAR, PING. See kvd-gateway(8)."""
    with _report_errors():
        keys, tcp = own_keys(key, server_key), _load_gateway("tcp.gateway", "tcp")
        dialect = _load_gateway("tcp.protocol", "tcp").DIALECTS[width]
        factory = partial(
            tcp.TcpGateway, url, keys, listen, dialect=dialect, connections=connections, is_insecure=insecure
        )
        _load_gateway("common.runner", "tcp").run(factory, tcp.fast_loop())


@gateway.command("nats")
@with_daemon
@click.option(
    "--server", default="nats://127.0.0.1:4222", show_default=True, help="[nats|tls]://[USER:PASSWORD@]HOST:PORT"
)
@click.option("--creds", type=FILE, help="Credentials for NATS: a file with user JWT and seed.")
@click.option("--tls-ca", type=FILE, help="The CA of the NATS server's certificate.")
@click.option(
    "--name",
    default="default",
    show_default=True,
    help="The bridge's name: its position is stored in kvd:nats:NAME.",
)
@click.option("--prefix", multiple=True, help="Only publish keys with this prefix; may be repeated.")
@click.option(
    "--changes", is_flag=True, help="Also publish each change to the subject kvd.KEY, with the revision of the change."
)
@click.option("--since", help="Start after this revision, or at `start` or `now`, instead of at the stored position.")
def nats_command(  # noqa: PLR0913  # its options
    *,
    url: str,
    key: Path | None,
    server_key: Path | None,
    server: str,
    creds: Path | None,
    tls_ca: Path | None,
    name: str,
    prefix: tuple[str, ...],
    changes: bool,
    since: str | None,
) -> None:
    """Publish every change to a NATS server, at least once, in order. See kvd-gateway(8)."""
    if not (since in (None, "start", "now") or (since.isascii() and since.isdigit())):
        raise click.BadParameter("must be a revision, start or now", param_hint="--since")
    with _report_errors():
        keys, nats = own_keys(key, server_key), _load_gateway("nats.bridge", "nats")
        factory = partial(
            nats.Bridge,
            url,
            keys,
            nats.NatsServer(server, creds, tls_ca),
            name=name,
            prefixes=[each.encode() for each in prefix],
            with_changes=changes,
            since=since,
        )
        _load_gateway("common.runner", "nats").run(factory)
