"""`kvd serve`: builds the parts of a daemon from the options, and connects them."""

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

from kvd.cli.exits import fail, report_lines
from kvd.cli.options import with_flags
from kvd.client.keys import read_certificate
from kvd.config import OPTIONS, Config, Settings, as_toml, settings, to_toml
from kvd.errors import BadConfiguration, StartError, StorageFailed
from kvd.limits import DESCRIPTORS_MIN
from kvd.log import set_up
from kvd.server import Server
from kvd.server.service import Options, Service
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
    "--config", "file", type=FILE, envvar="KVD_CONFIG", help="File of options, like conf/kvd.toml: kvd.toml(5)."
)
@with_flags
@click.option("--check-config", is_flag=True, help="Report mistakes in the options, and exit.")
@click.option("--print-config", is_flag=True, help="Print the effective options and their sources, and exit.")
@click.option("--end-with", type=int, hidden=True, help="Exit when this process, the parent, has ended.")
def serve(*, file: Path | None, check_config: bool, print_config: bool, end_with: int | None, **flags: Any) -> None:
    """Serve a data directory until SIGTERM or SIGINT.

    A flag takes precedence over the environment (KVD_DATA, KVD_LOG_LEVEL, ...), then the file.
    SIGHUP reads the files again.

    Example: kvd serve --data /var/lib/kvd
    """
    os.umask(0o077)  # only the owner may use the files it creates
    try:
        current = settings(flags, os.environ, file)
        if print_config:
            click.echo("\n".join(to_toml(current)))
        elif check_config:
            _server_keys(current.config)
            click.echo(f"{file or 'the configuration'}: no mistakes")
        else:
            if end_with is not None:
                _end_with_parent(end_with)
            run(current, partial(settings, flags, os.environ, file))
    except StorageFailed as error:
        report_lines(str(error))
        # Exit as if killed: closing SQLite would checkpoint, and nothing may be written after a failed fsync.
        os._exit(error.exit_code)
    except StartError as error:
        fail(error.exit_code, str(error))


def _end_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent process ends for any reason (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)  # it has ended already


def _make_directory(backups: Path) -> Path:
    """Create the folder for backups, accessible to its owner only; raises BadConfiguration."""
    try:
        backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfiguration(f"cannot use {backups} for backups: {error.strerror}") from error
    return backups.resolve()


def _server_keys(config: Config) -> ServerKeys | None:
    """Return the keys of a daemon with an access file, else None. Raises BadConfiguration."""
    if config.key is None or config.access is None:
        return None
    try:
        public, secret = read_certificate(str(config.key))
    except ValueError as error:
        raise BadConfiguration(str(error)) from error
    if secret is None:
        raise BadConfiguration(f"{config.key} has no secret key: use the file named *.key_secret")
    read_access(config.access)  # raises before anything is opened
    if config.key.stat().st_mode & OTHERS:
        log.warning("event=readable_key users other than its owner can read %s: chmod 600 %s", config.key, config.key)
    return ServerKeys(public, secret, config.access)


def _check_scheduling() -> None:
    """Raise BadConfiguration if sched_setscheduler is refused: libzmq's threads would end the process."""
    try:
        os.sched_setscheduler(0, os.sched_getscheduler(0), os.sched_getparam(0))
    except OSError as error:
        raise BadConfiguration(
            f"sched_setscheduler is refused ({error.strerror}), and libzmq cannot work without it: "
            "let the service have SystemCallFilter=sched_setscheduler"
        ) from error


def _check_descriptors(limit: int) -> None:
    """Raise BadConfiguration when the process may open too few files: later errors would be misleading."""
    if 0 <= limit < DESCRIPTORS_MIN:  # -1 is no limit
        raise BadConfiguration(
            f"this process may open {limit} files; kvd needs at least {DESCRIPTORS_MIN}, and one more for each "
            "connection: ulimit -n 1024, or LimitNOFILE=1024 in the unit"
        )


def _endpoints_of(current: Settings) -> Endpoints:
    """Return the configured endpoints, and the sockets passed by systemd, which replace the defaults."""
    passed = sockets_from(os.environ)
    config, chosen = current.config, current.sources
    listen = config.listen if "listen" in chosen or not passed else ()
    publish = config.publish if "publish" in chosen or not passed else ()
    ready = Endpoints(listen, publish, passed, config.group)
    names = " ".join(given.name for given in passed)
    if not (listen or any(not given.is_for_changes for given in passed)):
        raise BadConfiguration(f"none of the sockets that systemd passed ({names}) is for commands: enable kvd.socket")
    if not (publish or any(given.is_for_changes for given in passed)):
        raise BadConfiguration(
            f"none of the sockets that systemd passed ({names}) is for changes: "
            "enable kvd-changes.socket, or set publish"
        )
    return ready


class Reloader:
    """Holds the current options, and applies changes of those that SIGHUP may change."""

    def __init__(self, current: Settings, read: Callable[[], Settings], store: Store) -> None:
        self.current, self.read, self.store = current, read, store
        self.slowlog = SlowLog(current.config.slow_us, current.config.slow_kept)

    def reload(self) -> None:
        """Read the options again; raises BadConfiguration. Changes that need a restart are logged and ignored."""
        new, kept = self.read(), {}
        for name, option in OPTIONS.items():
            before, after = getattr(self.current.config, name), getattr(new.config, name)
            if before != after and not option.reloads:
                log.warning("event=needs_restart option=%s counts=%s until kvd restarts", name, as_toml(before))
                kept[name] = before
        sources = {**new.sources, **{name: self.current.sources.get(name, "default") for name in kept}}
        self.current = Settings(replace(new.config, **kept), sources)
        self.apply()

    def apply(self) -> None:
        """Apply the options that may change."""
        config = self.current.config
        logging.getLogger().setLevel(config.log_level.upper())
        self.store.set_retention(config.kept_changes, config.kept_bytes)
        self.slowlog.set_threshold(config.slow_us)

    def options(self) -> Options:
        """Return the result of CONFIG."""
        return self.current.as_map()


def run(current: Settings, read: Callable[[], Settings]) -> None:
    """Open the store, bind the endpoints and serve; raises StartError. `read` reads the options again."""
    set_up(current.config.log_level, current.config.log_format)
    notifier = Notifier(os.environ)
    endpoints = _endpoints_of(current)
    keys = _server_keys(current.config)
    _check_scheduling()
    _check_descriptors(raise_descriptor_limit())
    config = current.config
    store = Store(config.data, fsync=config.fsync)
    for note in store.notes:
        log.warning("event=recovered %s", note)
    try:
        reloader = Reloader(current, read, store)
        reloader.apply()
        service = Service(notifier, options=reloader.options, reload=reloader.reload)
        backups = _make_directory(config.backups or config.data / "backups")
        server = Server(
            store, endpoints=endpoints, backups=backups, keys=keys, service=service, slowlog=reloader.slowlog
        )
        announce_ready(server, config)
        server.serve()
    except StorageFailed:
        raise
    except BaseException:
        store.close()
        raise
    store.close()
    log.info("event=stopped revision=%d", store.revision)


def announce_ready(server: Server, config: Config) -> None:
    """Announce that the daemon is ready."""
    server.signals.install()
    # Objects that exist now live until the end: the collector can skip them.
    gc.collect()
    gc.freeze()
    # A MULTISET creates thousands of tuples, and cycles are rare: saves 6 % of the loop in a bulk load.
    gc.set_threshold(20_000)
    log.info(
        "event=ready version=%s commands=%s changes=%s data=%s fsync=%s core=%s revision=%d",
        VERSION,
        *(" ".join(bound.endpoint for bound in many) for many in (server.sockets.listening, server.sockets.publishing)),
        config.data,
        config.fsync,
        server.store.key_cache.name,
        server.store.revision,
    )
    server.service.notify("READY=1", f"STATUS={server.loop.status()}")
