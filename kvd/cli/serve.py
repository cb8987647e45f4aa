"""`kvd serve`: builds the parts of a daemon from the options, and joins them."""

import ctypes
import gc
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import click

from kvd import config
from kvd.client.keys import certificate
from kvd.config import Config
from kvd.errors import BadConfiguration, StartError, StorageFailed
from kvd.server import Server
from kvd.server.doorkeeper import ServerKeys, read_access
from kvd.server.signals import stop_on_signals
from kvd.storage import Store
from kvd.version import VERSION

log = logging.getLogger("kvd")

PR_SET_PDEATHSIG = 1
OTHERS = 0o077
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the data; made if missing.",
)
@click.option(
    "--listen",
    multiple=True,
    default=(config.LISTEN,),
    show_default=True,
    help="Endpoint for commands, tcp://ADDRESS:PORT or ipc://PATH; may be repeated.",
)
@click.option("--publish", default=config.PUBLISH, show_default=True, help="Endpoint for changes.")
@click.option(
    "--fsync",
    type=click.Choice(config.FSYNC_MODES),
    default="always",
    show_default=True,
    help="When a commit is made durable: before its reply, within 100 ms, or when the system likes.",
)
@click.option(
    "--backups",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder into which BACKUP writes.  [default: backups in the directory of the data]",
)
@click.option("--group", help="Group that may use ipc sockets, too.  [default: their owner alone]")
@click.option("--key", type=FILE, help="Who this daemon is: its certificate with the secret key (kvd keygen).")
@click.option("--access", type=FILE, help="Whom it lets in, and to what: a TOML file, read again on SIGHUP.")
@click.option("--log-level", type=click.Choice(config.LOG_LEVELS), default="info", show_default=True)
@click.option("--end-with", type=int, hidden=True, help="End when this process, the one that started us, has ended.")
def serve(*, end_with: int | None, **settings: Any) -> None:
    """Serve a data directory until SIGTERM or SIGINT.

    Example: kvd serve --data /var/lib/kvd
    """
    logging.basicConfig(level=settings["log_level"].upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    os.umask(0o077)  # whatever it makes is its owner's alone
    if end_with is not None:
        end_with_parent(end_with)
    try:
        run(Config(**settings))
    except StorageFailed as error:
        click.echo(f"kvd: {error}", err=True)
        # At once, as if killed: SQLite would checkpoint at its end, and nothing is to be written after a failed fsync.
        os._exit(error.exit_code)
    except StartError as error:
        click.echo(f"kvd: {error}", err=True)
        sys.exit(error.exit_code)


def end_with_parent(parent: int) -> None:
    """Let the kernel send SIGTERM when the process that started us ends, however it does (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)  # it ended before


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the system lets us: libzmq ends the process when it has none for a client."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def made(backups: Path) -> Path:
    """Make the folder for backups, for its owner alone; raises BadConfiguration."""
    try:
        backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfiguration(f"cannot use {backups} for backups: {error.strerror}") from error
    return backups.resolve()


def server_keys(settings: Config) -> ServerKeys | None:
    """Return the keys of a daemon that lets in only whom it knows. Raises BadConfiguration."""
    if settings.key is None or settings.access is None:
        return None
    try:
        public, secret = certificate(str(settings.key))
    except ValueError as error:
        raise BadConfiguration(str(error)) from error
    if secret is None:
        raise BadConfiguration(f"{settings.key} has no secret key: give the file whose name ends in key_secret")
    read_access(settings.access)  # before anything is opened
    if settings.key.stat().st_mode & OTHERS:
        log.warning("event=readable_key others than its owner can read %s: chmod 600 %s", settings.key, settings.key)
    return ServerKeys(public, secret, settings.access)


def run(settings: Config) -> None:
    """Open the store, bind the endpoints, serve; raises StartError."""
    settings.check()
    keys = server_keys(settings)
    raise_descriptor_limit()
    store = Store(settings.data, fsync=settings.fsync)
    for note in store.notes:
        log.warning("event=recovered %s", note)
    try:
        server = Server(
            store,
            listen=settings.listen,
            publish=settings.publish,
            backups=made(settings.backups or settings.data / "backups"),
            keys=keys,
            group=settings.group,
        )
        stop_on_signals(server)
        # What is alive now lives to the end: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        commands = " ".join(bound.endpoint for bound in server.listening)
        log.info(
            "event=ready version=%s commands=%s changes=%s data=%s fsync=%s revision=%d",
            VERSION,
            commands,
            server.publishing.endpoint,
            settings.data,
            settings.fsync,
            store.revision,
        )
        server.serve()
    except StorageFailed:
        raise
    except BaseException:
        store.close()
        raise
    store.close()
    log.info("event=stopped revision=%d", store.revision)
