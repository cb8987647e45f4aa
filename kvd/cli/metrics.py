"""`kvd metrics`: a separate process that reports a daemon's state to Prometheus, and to programs that restart daemons.

It is an ordinary client, and sends INFO for each request: the daemon needs no HTTP, and does no work without requests.
"""

import signal
from importlib import import_module
from pathlib import Path
from types import FrameType

import click

from kvd.cli.connection_options import own_keys, with_daemon
from kvd.cli.exits import UNAVAILABLE, fail, report_errors

DEFAULT_LISTEN = "127.0.0.1:9411"


@click.command()
@with_daemon
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, help="ADDRESS:PORT, or unix:PATH.")
@click.option("--insecure", is_flag=True, help="Accept an address that others reach: anybody can read it.")
def metrics(*, url: str, listen: str, insecure: bool, key: Path | None, server_key: Path | None) -> None:
    """Serve the figures of INFO as Prometheus metrics.

    The paths are /metrics, /livez and /readyz.

    It needs the extra kvd-server[metrics]: pip install 'kvd-server[metrics]'

    Example: kvd metrics --url tcp://127.0.0.1:7411 --listen 127.0.0.1:9411
    """
    try:
        pages = import_module("kvd.cli.metrics_http")
    except ModuleNotFoundError as error:
        fail(UNAVAILABLE, f"metrics need the extra metrics: pip install 'kvd-server[metrics]' ({error})")
    with report_errors():
        reader = pages.InfoReader(url, own_keys(key, server_key))
        with pages.listen_on(listen, pages.Pages(reader), is_insecure=insecure) as server:
            click.echo(f"kvd: metrics of {url} at {pages.listen_text(server)}", err=True)
            _end_on_signals()
            server.serve_forever()


def _end_on_signals() -> None:
    """Exit normally on SIGTERM and SIGINT, so that a unix socket is removed."""

    def exit_normally(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, exit_normally)
    signal.signal(signal.SIGINT, exit_normally)
