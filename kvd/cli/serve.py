"""`kvd serve`: builds the parts of a daemon from the options, and joins them."""

import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from kvd.cli.options import with_flags
from kvd.client.keys import read_certificate
from kvd.config import OPTIONS, Config, Settings, as_toml, settings, to_toml
from kvd.errors import BadConfiguration, StartError, StorageFailed
from kvd.limits import DESCRIPTORS_MIN
from kvd.log import set_up
from kvd.server import Server
from kvd.server.service import Options, Service
from kvd.server.signals import stop_on_signals
from kvd.server.slow_log import SlowLog
from kvd.server.sockets.authenticator import ServerKeys, read_access
from kvd.server.sockets.endpoints import Endpoints, sockets_from
from kvd.storage import Store
from kvd.systemd import Notifier, raise_descriptor_limit
from kvd.version import VERSION

log = logging.getLogger("kvd")

PR_SET_PDEATHSIG = 1
OTHERS = 0o077
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--config", "file", type=FILE, envvar="KVD_CONFIG", help="A file of options, as conf/kvd.toml: kvd.toml(5)."
)
@with_flags
@click.option("--check-config", is_flag=True, help="Tell what is wrong with all that, and end.")
@click.option("--print-config", is_flag=True, help="Print what counts and where it comes from, and end.")
@click.option("--end-with", type=int, hidden=True, help="End when this process, the one that started us, has ended.")
def serve(*, file: Path | None, check_config: bool, print_config: bool, end_with: int | None, **flags: Any) -> None:
    """Serve a data directory until SIGTERM or SIGINT.

    A flag goes before the environment (KVD_DATA, KVD_LOG_LEVEL, ...), that before the file.
    SIGHUP has the files read again.

    Example: kvd serve --data /var/lib/kvd
    """
    os.umask(0o077)  # whatever it makes is its owner's alone
    try:
        found = settings(flags, os.environ, file)
        if print_config:
            click.echo("\n".join(to_toml(found)))
        elif check_config:
            _server_keys(found.config)
            click.echo(f"{file or 'the configuration'}: all is well")
        else:
            if end_with is not None:
                _end_with_parent(end_with)
            run(found, partial(settings, flags, os.environ, file))
    except StorageFailed as error:
        report(error)
        # At once, as if killed: SQLite would checkpoint at its end, and nothing is to be written after a failed fsync.
        os._exit(error.exit_code)
    except StartError as error:
        report(error)
        sys.exit(error.exit_code)


def report(error: StartError) -> None:
    """Say why the daemon ends, in a line or several."""
    for line in str(error).splitlines():
        click.echo(f"kvd: {line}", err=True)


def _end_with_parent(parent: int) -> None:
    """Let the kernel send SIGTERM when the process that started us ends, however it does (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)  # it ended before


def _make_directory(backups: Path) -> Path:
    """Make the folder for backups, for its owner alone; raises BadConfiguration."""
    try:
        backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfiguration(f"cannot use {backups} for backups: {error.strerror}") from error
    return backups.resolve()


def _server_keys(config: Config) -> ServerKeys | None:
    """Return the keys of a daemon that lets in only whom it knows. Raises BadConfiguration."""
    if config.key is None or config.access is None:
        return None
    try:
        public, secret = read_certificate(str(config.key))
    except ValueError as error:
        raise BadConfiguration(str(error)) from error
    if secret is None:
        raise BadConfiguration(f"{config.key} has no secret key: give the file whose name ends in key_secret")
    read_access(config.access)  # before anything is opened
    if config.key.stat().st_mode & OTHERS:
        log.warning("event=readable_key others than its owner can read %s: chmod 600 %s", config.key, config.key)
    return ServerKeys(public, secret, config.access)


def _check_scheduling() -> None:
    """Raise BadConfiguration where libzmq would end the process: each of its threads asks for what it has already."""
    try:
        os.sched_setscheduler(0, os.sched_getscheduler(0), os.sched_getparam(0))
    except OSError as error:
        raise BadConfiguration(
            f"sched_setscheduler is refused ({error.strerror}), and libzmq does not live without it: "
            "let the service have SystemCallFilter=sched_setscheduler"
        ) from error


def _check_descriptors(limit: int) -> None:
    """Raise BadConfiguration when the process may not open enough files: what fails then says something else."""
    if 0 <= limit < DESCRIPTORS_MIN:  # -1 is no limit
        raise BadConfiguration(
            f"this process may open {limit} files; kvd needs at least {DESCRIPTORS_MIN}, and one more for each "
            "connection: ulimit -n 1024, or LimitNOFILE=1024 in the unit"
        )


def _endpoints_of(found: Settings) -> Endpoints:
    """Return where to serve: what is configured, and the sockets that systemd passed, which replace the defaults."""
    passed = sockets_from(os.environ)
    config, chosen = found.config, found.sources
    listen = config.listen if "listen" in chosen or not passed else ()
    publish = config.publish if "publish" in chosen or not passed else ()
    ready = Endpoints(listen, publish, passed, config.group)
    names = " ".join(given.name for given in passed)
    if not (listen or any(not given.is_for_changes for given in passed)):
        raise BadConfiguration(f"of the sockets that systemd passed ({names}) none is for commands: enable kvd.socket")
    if not (publish or any(given.is_for_changes for given in passed)):
        raise BadConfiguration(
            f"of the sockets that systemd passed ({names}) none is for changes: "
            "enable kvd-changes.socket, or set publish"
        )
    return ready


class Reloader:
    """Holds what the options are, and takes up what may change while a store is served."""

    def __init__(self, found: Settings, read: Callable[[], Settings], store: Store) -> None:
        self.found, self.read, self.store = found, read, store
        self.slowlog = SlowLog(found.config.slow_us, found.config.slow_kept)

    def reload(self) -> None:
        """Read the options again; raises BadConfiguration. What wants a restart is told, and stays."""
        new, kept = self.read(), {}
        for name, option in OPTIONS.items():
            before, after = getattr(self.found.config, name), getattr(new.config, name)
            if before != after and not option.reloads:
                log.warning("event=needs_restart option=%s counts=%s until kvd is started again", name, as_toml(before))
                kept[name] = before
        sources = {**new.sources, **{name: self.found.sources.get(name, "default") for name in kept}}
        self.found = Settings(replace(new.config, **kept), sources)
        self.take_up()

    def take_up(self) -> None:
        """Use the options that may change."""
        config = self.found.config
        logging.getLogger().setLevel(config.log_level.upper())
        self.store.set_retention(config.kept_changes, config.kept_bytes)
        self.slowlog.slow_us = config.slow_us

    def options(self) -> Options:
        """Return what CONFIG tells."""
        return self.found.as_map()


def run(found: Settings, read: Callable[[], Settings]) -> None:
    """Open the store, bind the endpoints, serve; raises StartError. `read` reads the options again."""
    set_up(found.config.log_level, found.config.log_format)
    notifier = Notifier(os.environ)
    endpoints = _endpoints_of(found)
    keys = _server_keys(found.config)
    _check_scheduling()
    _check_descriptors(raise_descriptor_limit())
    config = found.config
    store = Store(config.data, fsync=config.fsync)
    for note in store.notes:
        log.warning("event=recovered %s", note)
    try:
        reloader = Reloader(found, read, store)
        reloader.take_up()
        service = Service(notifier, options=reloader.options, reload=reloader.reload)
        backups = _make_directory(config.backups or config.data / "backups")
        server = Server(
            store, endpoints=endpoints, backups=backups, keys=keys, service=service, slowlog=reloader.slowlog
        )
        begin(server, config)
        server.serve()
    except StorageFailed:
        raise
    except BaseException:
        store.close()
        raise
    store.close()
    log.info("event=stopped revision=%d", store.revision)


def begin(server: Server, config: Config) -> None:
    """Say that all is ready."""
    stop_on_signals(server)
    # What is alive now lives to the end: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    # A MULTISET makes thousands of tuples, and hardly anything here refers to itself: 6 % of the loop in a bulk load.
    gc.set_threshold(20_000)
    log.info(
        "event=ready version=%s commands=%s changes=%s data=%s fsync=%s core=%s revision=%d",
        VERSION,
        *(" ".join(bound.endpoint for bound in many) for many in (server.listening, server.publishing)),
        config.data,
        config.fsync,
        server.store.key_cache.name,
        server.store.revision,
    )
    server.service.notify("READY=1", f"STATUS={server.status()}")
