"""`kvd metrics`: a process of its own that tells Prometheus, and whoever restarts daemons, how a daemon does.

It is a client like others and asks INFO at each look, so the daemon has no HTTP and pays for nobody who does not look.
"""

import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

import click

from kvd.cli.connection_options import own_keys, with_daemon
from kvd.errors import StartError

DEFAULT_LISTEN = "127.0.0.1:9411"
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h


@click.command()
@with_daemon
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, help="ADDRESS:PORT, or unix:PATH.")
@click.option("--insecure", is_flag=True, help="Listen on an address that others reach, too: anybody may look.")
def metrics(*, url: str, listen: str, insecure: bool, key: Path | None, server_key: Path | None) -> None:
    """Serve what INFO tells as Prometheus metrics.

    The paths are /metrics, /livez and /readyz.

    It needs the extra kvd-server[metrics]: pip install 'kvd-server[metrics]'

    Example: kvd metrics --url tcp://127.0.0.1:7411 --listen 127.0.0.1:9411
    """
    try:
        pages = import_module("kvd.cli.metrics_http")
    except ModuleNotFoundError as error:
        click.echo(f"kvd: metrics need the extra metrics: pip install 'kvd-server[metrics]' ({error})", err=True)
        sys.exit(UNAVAILABLE)
    try:
        look = pages.InfoCache(url, own_keys(key, server_key))
        with pages.listen_on(listen, is_insecure=insecure) as server:
            server.pages = pages.Pages(look)
            click.echo(f"kvd: metrics of {url} at {pages.listen_text(server)}", err=True)
            _end_on_signals()
            server.serve_forever()
    except StartError as error:
        click.echo(f"kvd: {error}", err=True)
        sys.exit(error.exit_code)


def _end_on_signals() -> None:
    """Let SIGTERM and SIGINT end the process well, so that a unix socket is removed."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
