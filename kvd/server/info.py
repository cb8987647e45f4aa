"""What the daemon says of itself: counters, kept as plain ints on the hot path, and INFO's sections."""

import os
import platform
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from time import process_time_ns
from typing import TYPE_CHECKING, Any

import zmq

from kvd import wire
from kvd.commands import COMMANDS, syntax_of
from kvd.errors import BadArgument, UnknownCommand
from kvd.features import FEATURES
from kvd.limits import MEMORY_PRESSURE_BYTES, PUBLISH_QUEUE_MAX
from kvd.server.background import AdminTasks
from kvd.server.memory_guard import resident_bytes
from kvd.server.slow_log import SlowLog
from kvd.version import VERSION

if TYPE_CHECKING:
    from kvd.server.loop import Server

Section = Callable[[], dict[str, Any]]
since = attrgetter("since")


class Introspection:
    """Answers what commands ask: the `Daemon` of the commands."""

    def __init__(
        self,
        sections: dict[str, Section],
        maintenance: AdminTasks,
        *,
        options: Section = dict,
        slowlog: SlowLog | None = None,
        clients: Callable[[], list[dict[str, Any]]] = list,
    ) -> None:
        self.sections = sections
        self.options = options
        self.check = maintenance.check
        self.back_up = maintenance.back_up
        self.slow_log = slowlog or SlowLog()
        self.slow_commands = self.slow_log.formatted
        self.clients = clients

    def info(self, section: str | None) -> dict[str, dict[str, Any]]:
        """Return all sections, or one."""
        if section is None:
            return {name: tell() for name, tell in self.sections.items()}
        name = section.lower()
        if name not in self.sections:
            raise BadArgument(f"INFO has no section {section!r}: there are {', '.join(self.sections)}")
        return {name: self.sections[name]()}

    def config(self, name: str | None) -> dict[str, dict[str, Any]]:
        """Return all options, or one."""
        options = self.options()
        if name is None:
            return options
        wanted = name.lower().replace("-", "_")
        if wanted not in options:
            raise BadArgument(f"there is no option {name!r}: there are {', '.join(options)}")
        return {wanted: options[wanted]}

    def commands(self, name: str | None) -> list[dict[str, Any]]:
        """Return the table of commands as data, or the row of one."""
        if name is None:
            return [syntax_of(command).as_map() for command in COMMANDS.values()]
        command = COMMANDS.get(name.upper())
        if command is None:
            raise UnknownCommand(f"there is no command {name!r}: COMMANDS lists them")
        return [syntax_of(command).as_map()]


def sections(server: "Server") -> dict[str, Section]:
    """Return what tells each section of INFO."""
    return {
        "server": partial(_server_facts, server),
        "store": server.store.facts,
        "traffic": partial(_traffic_facts, server),
        "commands": lambda: server.executor.timed_calls,
        "latency": partial(_latency_facts, server),
        "process": partial(_process_section, server),
    }


def clients_of(server: "Server") -> list[dict[str, Any]]:
    """Return who is connected, by socket, those who came first first."""
    return [
        {"socket": name, **peer._asdict()}
        for name, connections in (("commands", server.clients), ("changes", server.watchers))
        for peer in sorted(connections.peers.values(), key=since)
    ]


def _process_facts() -> dict[str, Any]:
    """Return what is true of this process as long as it runs."""
    return {"pid": os.getpid(), "python": platform.python_version()}


def _process_section(server: "Server") -> dict[str, Any]:
    """Return the section `process`. `started` is Unix ms, `cpu_ms` of all threads."""
    return {
        "version": VERSION,
        **_process_facts(),
        "libzmq": zmq.zmq_version(),
        "started": server.started,
        "cpu_ms": process_time_ns() // 1_000_000,
        "memory_bytes": resident_bytes(),
        "memory_bytes_max": MEMORY_PRESSURE_BYTES,
        "memory_is_tight": server.executor.under_memory_pressure,
        "connections_max": server.capacity.limit,
    }


def _latency_facts(server: "Server") -> dict[str, Any]:
    """Return the section `latency`: of requests inside the daemon, and of the commits of their batches."""
    executor = server.executor
    commits = {
        "commits": executor.commits,
        "commit_us": executor.commit_ns // 1_000,
        "commit_max_us": executor.commit_max_ns // 1_000,
    }
    slow = {"slow": server.slow_log.number, "slow_us": server.slow_log.slow_us}
    return {**server.latency.facts(), **commits, **slow}


def _server_facts(server: "Server") -> dict[str, Any]:
    """Return the section `server`."""
    return {
        "version": VERSION,
        "protocol": wire.VERSION,
        "features": list(FEATURES),
        **_process_facts(),
        "memory_bytes": resident_bytes(),
        "uptime_ms": server.clock.now() - server.started,
        "commands": [bound.endpoint for bound in server.listening],
        "changes": server.publishing[0].endpoint,
        "changes_endpoints": [bound.endpoint for bound in server.publishing],
        "publish_queue": PUBLISH_QUEUE_MAX,
        "history": server.store.history,
        "revision": server.store.revision,
        "fsync": server.store.fsync,
        "read_only": server.read_only,
        "sqlite": server.store.sqlite_version,
        "frames": server.command_socket.frames.name,
        "core": server.store.key_cache.name,
        "keys": server.authenticator is not None,
    }


def _traffic_facts(server: "Server") -> dict[str, Any]:
    """Return the section `traffic`."""
    return {
        "calls": server.executor.calls,
        "errors": server.executor.errors,
        "denied": server.executor.denied,
        "refused_clients": 0 if server.authenticator is None else server.authenticator.refused,
        "batches": server.batches,
        "malformed": server.command_socket.malformed,
        "replies_dropped": server.command_socket.replies_dropped,
        "published": server.change_socket.published,
        "clients": server.clients.count,
        "watchers": server.watchers.count,
        "watchers_cut": server.watchers.disconnected,
        "connections_refused": server.capacity.refused,
        "topics": len(server.change_socket.topics),
        "waiting": len(server.waits),
    }
