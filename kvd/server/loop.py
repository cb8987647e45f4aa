"""The loop: receive requests, run them, send replies, publish changes, and keep time.

    receive (bounded)  ->  pipeline: run, one commit, one fsync  ->  send replies  ->  publish changes  ->  timers

All of it is one thread. A reply leaves only after the commit of its batch.
"""

import logging
from time import perf_counter, sleep
from typing import NamedTuple

import zmq

from kvd.commands.model import Milliseconds
from kvd.errors import ShuttingDown
from kvd.limits import EXPIRY_INTERVAL_MS, STOP_DRAIN_MS, STOP_GRACE_MS
from kvd.server.background import BackgroundCommands
from kvd.server.clock import Clock
from kvd.server.latency import Latency
from kvd.server.memory_guard import MemoryGuard
from kvd.server.pipeline import BatchPipeline
from kvd.server.publisher import Publisher
from kvd.server.receiver import Receiver
from kvd.server.service import Service
from kvd.server.signals import Signals
from kvd.server.sockets.command_socket import Request
from kvd.server.sockets.server_sockets import ServerSockets
from kvd.server.storage_timers import StorageTimers
from kvd.server.waits import Waits
from kvd.storage import Store

log = logging.getLogger("kvd")


class LoopParts(NamedTuple):
    """The parts that the loop calls in turn. The server builds and closes them."""

    store: Store
    clock: Clock
    sockets: ServerSockets
    receiver: Receiver
    pipeline: BatchPipeline
    waits: Waits
    publisher: Publisher
    timers: StorageTimers
    background: BackgroundCommands
    memory_guard: MemoryGuard
    latency: Latency
    service: Service
    signals: Signals


class Loop:
    """Serves one turn after the other."""

    def __init__(self, parts: LoopParts) -> None:
        self.parts = parts
        self._receiver = parts.receiver
        self._pipeline = parts.pipeline
        self._commands = parts.sockets.commands
        self._publisher = parts.publisher
        self._waits = parts.waits
        self._executor = parts.pipeline.executor

    def turn(self, wait_ms: int) -> None:
        """Wait for requests, serve them, and do the work that is due."""
        batch, now, began = self._receiver.receive(wait_ms)
        commits, commit_ns = self._pipeline.commits, self._pipeline.commit_ns
        self.run_batch(batch)
        for rows in self._waits.deliver_keys(now):
            self._publisher.publish(rows, now)
        answered = perf_counter()
        self._receiver.on_answered(answered)
        if batch:
            self.parts.latency.note(len(batch), answered - began)
            if log.isEnabledFor(logging.DEBUG):
                self._log_batch(len(batch), answered - began, commits, commit_ns)
        self._tick(now)

    def run_batch(self, batch: list[Request]) -> None:
        """Run a batch; send its replies, and publish its changes."""
        for answered in self._pipeline.run(batch):
            self._commands.send(answered.requests, answered.replies)
            self._publisher.publish(answered.rows, answered.now)
            if answered.is_partial:
                self._tick(answered.now)

    def _log_batch(self, count: int, seconds: float, commits: int, commit_ns: int) -> None:
        """Log an answered batch; `commits` and `commit_ns` are the totals before it."""
        log.debug(
            "event=batch commands=%d us=%d commits=%d commit_us=%d",
            count,
            int(seconds * 1_000_000),
            self._pipeline.commits - commits,
            (self._pipeline.commit_ns - commit_ns) // 1_000,
        )

    def wait_ms(self) -> int:
        """Return how long nothing is due."""
        now = self.parts.clock.now()
        heartbeat, waits = self.parts.sockets.changes.next_heartbeat, self._waits.next_due(now)
        due = min(heartbeat, waits or now + EXPIRY_INTERVAL_MS, self.parts.timers.next_due(now))
        return max(0, min(EXPIRY_INTERVAL_MS, due - now))

    def _tick(self, now: Milliseconds) -> None:
        """Do the work that is due."""
        parts = self.parts
        self._waits.end_expired(now)
        self._send_results()
        if parts.memory_guard.tick(self._executor.counts.reply_bytes, now):
            parts.sockets.watchers.disconnect_all()
        if parts.signals.is_reload_due:
            self._reload()
        parts.sockets.changes.tick(parts.store.revision, now)
        parts.timers.tick(now)
        parts.service.tick(self.status, now)

    def _send_results(self) -> None:
        """Send the replies of background commands that are done."""
        for envelope, outcome in self.parts.background.pop_finished():
            self._commands.reply(envelope, self._executor.encode_result(outcome))

    def _reload(self) -> None:
        """Read the files again after SIGHUP.

        Pending waits and subscriptions granted by the old access file are ended; clients retry under the new one.
        """
        self.parts.signals.clear_reload()
        with self.parts.service.reloading():
            if self.parts.sockets.reload_access():
                self._waits.end_all()

    def status(self) -> str:
        """Return the state of the daemon in one line."""
        if self._executor.read_only is not None:
            return f"READ-ONLY: {self._executor.read_only}"
        clients, watchers = self.parts.sockets.clients.count, self.parts.sockets.watchers.count
        return f"revision {self.parts.store.revision}, {clients} clients, {watchers} watchers"

    def drain_and_stop(self) -> None:
        """Serve the requests that have arrived, refuse the clients that wait, and let the replies leave."""
        log.info("event=stopping")
        self.parts.service.notify("STOPPING=1")
        self.turn(0)
        self._waits.refuse_all(ShuttingDown("the daemon is shutting down; retry later"))
        self.parts.background.stop()
        self._send_results()
        self.parts.timers.sync_at_stop()
        self._commands.socket.set(zmq.LINGER, STOP_DRAIN_MS)
        # A libzmq client loses messages that arrive just before the connection ends: 1 of 15 on a busy machine.
        sleep(STOP_GRACE_MS / 1000)
