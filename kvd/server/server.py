"""Builds, connects and closes the parts of a daemon."""

from pathlib import Path
from time import process_time_ns
from typing import Any

import zmq

from kvd import wire
from kvd.errors import StorageFailed
from kvd.features import FEATURES
from kvd.limits import MEMORY_PRESSURE_BYTES
from kvd.server.background import AdminTasks, BackgroundCommands
from kvd.server.clock import Clock
from kvd.server.executor import Executor
from kvd.server.info import Introspection, process_facts
from kvd.server.latency import Latency
from kvd.server.loop import Loop, LoopParts
from kvd.server.memory_guard import MemoryGuard, resident_bytes
from kvd.server.pipeline import BatchPipeline
from kvd.server.publisher import Publisher
from kvd.server.receiver import Receiver
from kvd.server.service import Service
from kvd.server.signals import Signals
from kvd.server.slow_log import SlowLog
from kvd.server.sockets.authenticator import ServerKeys
from kvd.server.sockets.endpoints import Endpoints
from kvd.server.sockets.server_sockets import ServerSockets
from kvd.server.storage_timers import StorageTimers
from kvd.server.sweep import Sweep
from kvd.server.waits import Waits
from kvd.storage import Store
from kvd.version import VERSION


class Server:
    """A store, served at endpoints until `signals.stop()`."""

    def __init__(
        self,
        store: Store,
        *,
        endpoints: Endpoints,
        backups: Path,
        keys: ServerKeys | None = None,
        service: Service | None = None,
        slowlog: SlowLog | None = None,
    ) -> None:
        """Bind the endpoints; raises StartError. With keys, only clients of the access file are accepted."""
        self.store = store
        self.clock = Clock(store.time)
        self.started = self.clock.now()
        self.service = service or Service()
        self.slow_log = slowlog or SlowLog()
        self.sockets = ServerSockets(endpoints, keys, self.clock.now)
        self.signals = Signals()
        self.sockets.poller.register(self.signals.socket, zmq.POLLIN)
        background = BackgroundCommands()
        self.executor = Executor(
            store,
            self._introspection(AdminTasks(store.directory, backups, background)),
            background,
            slow_log=self.slow_log,
            memory_guard=MemoryGuard(),
            authenticator=self.sockets.authenticator,
        )
        self.pipeline = BatchPipeline(self.executor, self.clock)
        self.waits = Waits(self.pipeline, self.sockets.commands)
        self.loop = self._build_loop(background)

    def _build_loop(self, background: BackgroundCommands) -> Loop:
        publisher = Publisher(self.store, self.sockets.changes, self.waits)
        sweep = Sweep(self.pipeline, publisher.publish)
        return Loop(
            LoopParts(
                store=self.store,
                clock=self.clock,
                sockets=self.sockets,
                receiver=Receiver(self.sockets, self.store, self.clock),
                pipeline=self.pipeline,
                waits=self.waits,
                publisher=publisher,
                timers=StorageTimers(self.store, self.executor, sweep, self.service),
                background=background,
                memory_guard=self.executor.memory_guard,
                latency=Latency(),
                service=self.service,
                signals=self.signals,
            )
        )

    def serve(self) -> None:
        """Serve until a stop is requested; raises StorageFailed if the storage has failed."""
        try:
            while not self.signals.is_stopping:
                self.loop.turn(self.loop.wait_ms())
            self.loop.drain_and_stop()
        finally:
            self.close()
        if self.executor.read_only is not None:
            raise StorageFailed(f"the daemon was read-only: {self.executor.read_only}")

    def close(self) -> None:
        """Close the sockets and release the endpoints. The caller closes the store."""
        self.sockets.close()
        self.signals.close()

    # INFO

    def _introspection(self, tasks: AdminTasks) -> Introspection:
        return Introspection(
            {
                "server": self._server_facts,
                "store": self.store.facts,
                "traffic": self._traffic_facts,
                "commands": self._command_facts,
                "latency": self._latency_facts,
                "process": self._process_facts,
            },
            tasks,
            options=self.service.options,
            slowlog=self.slow_log,
            clients=self.sockets.list_clients,
        )

    def _server_facts(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "protocol": wire.VERSION,
            "features": list(FEATURES),
            **process_facts(),
            "memory_bytes": resident_bytes(),
            "uptime_ms": self.clock.now() - self.started,
            **self.sockets.endpoint_facts(),
            "history": self.store.history,
            "revision": self.store.revision,
            "fsync": self.store.fsync,
            "read_only": self.executor.read_only,
            "sqlite": self.store.sqlite_version,
            "frames": self.sockets.commands.frames.name,
            "core": self.store.key_cache.name,
            "keys": self.sockets.authenticator is not None,
        }

    def _traffic_facts(self) -> dict[str, Any]:
        authenticator = self.sockets.authenticator
        return {
            **self.executor.counts.facts(),
            "refused_clients": 0 if authenticator is None else authenticator.refused,
            "batches": self.pipeline.batches,
            **self.sockets.traffic_facts(),
            "waiting": len(self.waits),
        }

    def _command_facts(self) -> dict[str, Any]:
        return self.executor.counts.times_by_command()

    def _latency_facts(self) -> dict[str, Any]:
        return {**self.loop.parts.latency.facts(), **self.pipeline.facts(), **self.slow_log.facts()}

    def _process_facts(self) -> dict[str, Any]:
        """Return the section `process`. `started` is in Unix ms, `cpu_ms` of all threads."""
        return {
            "version": VERSION,
            **process_facts(),
            "libzmq": zmq.zmq_version(),
            "started": self.started,
            "cpu_ms": process_time_ns() // 1_000_000,
            "memory_bytes": resident_bytes(),
            "memory_bytes_max": MEMORY_PRESSURE_BYTES,
            "memory_is_tight": self.executor.memory_guard.under_pressure,
            "connections_max": self.sockets.capacity.limit,
        }
