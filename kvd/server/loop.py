"""The loop: drain what has arrived, run it, commit once, send the replies, publish the changes.

    drain (bounded)  ->  engine.apply each  ->  one commit, one fsync  ->  send replies  ->  publish changes

This *group commit* is what makes durable writes fast: fifty clients share one fsync. Everything here is
one thread; replies are held until what they tell is durable.
"""

import contextlib
import logging
import os
import socket
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import zmq

from kvd import wire
from kvd.commands.model import Milliseconds, Row
from kvd.errors import Internal, Refused, ShuttingDown, StorageFailed
from kvd.limits import (
    EXPIRY_INTERVAL_MS,
    FSYNC_INTERVAL_MS,
    STOP_DRAIN_MS,
    STOP_GRACE_MS,
)
from kvd.server.background import AdminTasks, BackgroundCommands
from kvd.server.clock import Clock
from kvd.server.executor import Executor
from kvd.server.info import Introspection, clients_of, sections
from kvd.server.latency import Latency
from kvd.server.memory_guard import MemoryGuard
from kvd.server.service import Service
from kvd.server.slow_log import SlowLog
from kvd.server.sockets.authenticator import ServerKeys, ZapAuthenticator
from kvd.server.sockets.change_socket import ChangeSocket
from kvd.server.sockets.command_socket import CommandSocket, Request
from kvd.server.sockets.connections import Capacity, Connections, connections_max
from kvd.server.sockets.endpoints import AdoptedEndpoint, BoundEndpoint, Endpoints
from kvd.server.sweep import Sweep
from kvd.server.waits import PASSING, Waits
from kvd.storage import Store

log = logging.getLogger("kvd")

POLL_OTHERS_MS = 5
SIGNALS_MAX = 4096
SPIN_S = 0.0001
SINGLE_CLIENT_S = 0.0002  # from an answer to the next request


class Server:
    """A store, served at endpoints until told to stop."""

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
        """Bind the endpoints; raises StartError. With keys, only those in the access file are let in."""
        self.store = store
        self.clock = Clock(store.time)
        self.background = BackgroundCommands()
        self.latency = Latency()
        self.slow_log = slowlog or SlowLog()
        self.service = service or Service()
        self.facts = Introspection(
            sections(self),
            AdminTasks(store.directory, backups, self.background),
            options=self.service.options,
            slowlog=self.slow_log,
            clients=partial(clients_of, self),
        )
        self.executor = Executor(store, self.clock, self.facts, self.background)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._open_sockets(keys)
            self.listening: list[BoundEndpoint | AdoptedEndpoint] = []
            self.publishing: list[BoundEndpoint | AdoptedEndpoint] = []
            bind = partial(endpoints.bind, has_keys=keys is not None)
            self.listening.extend(bind(self.command_socket.socket, is_for_changes=False))
            self.publishing.extend(bind(self.change_socket.socket, is_for_changes=True))
        except BaseException:
            self.context.destroy(linger=0)
            raise
        self.waits = Waits(self.executor, self.command_socket, fail=self.fail, after_commit=self._after_commit)
        self.batches = 0
        self.sweep = Sweep(self.executor, self._after_commit)
        self.started = self.clock.now()
        self.next_sync = self.published_compacted = 0
        self.stopping = self.is_busy = self.is_single_client = self.reload_requested = False
        self.read_only: str | None = None  # why, once the storage has failed
        self.memory_guard = MemoryGuard()
        self.answered = 0.0
        self.next_poll_others: Milliseconds = 0
        self.signals: socket.socket | None = None  # readable after a signal

    def _open_sockets(self, keys: ServerKeys | None) -> None:
        """Make the sockets, and what has to be there before they are bound. Raises BadConfiguration."""
        self.authenticator = None if keys is None else ZapAuthenticator(self.context, keys)
        self.command_socket = CommandSocket(self.context, self.authenticator)
        self.change_socket = ChangeSocket(self.context, self.authenticator)
        if self.authenticator is not None:
            self.executor.check = self.authenticator.check
            self.slow_log.name_of = self.authenticator.name_of
        self.capacity = Capacity(connections_max())
        self.clients = Connections(self.command_socket.socket, self.capacity, self.clock.now, name="commands")
        self.watchers = Connections(self.change_socket.socket, self.capacity, self.clock.now, name="changes")
        self.poller = zmq.Poller()
        for part in (self.command_socket, self.change_socket, self.clients, self.watchers, self.authenticator):
            if part is not None:
                self.poller.register(part.socket, zmq.POLLIN)

    # The loop

    def serve(self) -> None:
        """Serve until `stop`; raises StorageFailed when it ends with a storage that has failed."""
        try:
            while not self.stopping:
                self.turn(self.wait_ms())
            self.drain_and_stop()
        finally:
            self.close()
        if self.read_only is not None:
            raise StorageFailed(f"the daemon was read-only: {self.read_only}")

    def turn(self, wait_ms: int) -> None:
        """Wait for what comes, serve it, and do what is due."""
        now = self.clock.now()
        batch = self._spin_for_requests()
        if not batch or now >= self.next_poll_others:
            self.next_poll_others = now + POLL_OTHERS_MS
            events = dict(self.poller.poll(0 if batch else wait_ms))
            now = self.clock.now()
            for connections in (self.clients, self.watchers):
                if connections.socket in events:
                    connections.take_events()
            if self.authenticator is not None and self.authenticator.socket in events:
                self.authenticator.answer(now)
            if self.change_socket.socket in events:
                self.change_socket.take_subscriptions(self.store.revision, now)
            if self.command_socket.socket in events and not batch:
                batch = self.command_socket.drain()
        began = perf_counter()
        self.is_busy = len(batch) > 1
        self.is_single_client = len(batch) == 1 and began - self.answered < SINGLE_CLIENT_S
        commits, commit_ns = self.executor.commits, self.executor.commit_ns
        self.run_batch(batch)
        self.waits.deliver_keys(now)
        self.answered = perf_counter()
        if batch:
            self.latency.note(len(batch), self.answered - began)
            if log.isEnabledFor(logging.DEBUG):
                self._log_batch(len(batch), began, commits, commit_ns)
        self.tick(now)

    def _log_batch(self, count: int, began: float, commits: int, commit_ns: int) -> None:
        """Log a batch that has been answered; `commits` and `commit_ns` are as they were before it."""
        log.debug(
            "event=batch commands=%d us=%d commits=%d commit_us=%d",
            count,
            int((self.answered - began) * 1_000_000),
            self.executor.commits - commits,
            (self.executor.commit_ns - commit_ns) // 1_000,
        )

    def _spin_for_requests(self) -> list[Request]:
        """Return what has come since the last batch without a poll and its system calls, where that is likely.

        While many ask, more have come by the time a batch is answered. Who asks alone, and soon after each answer, is
        waited for a moment: to sleep and be woken takes longer. The other sockets are looked at each POLL_OTHERS_MS.
        """
        if self.is_busy:
            # Lets the I/O thread bring in more first: larger batches, fewer wakes. get-50 74 k -> 81 k/s, SET the same.
            os.sched_yield()
            return self.command_socket.drain()
        until = perf_counter() + SPIN_S if self.is_single_client else 0.0
        while perf_counter() < until:
            if batch := self.command_socket.drain():
                return batch
        return []

    def wait_ms(self) -> int:
        """Return how long nothing is due."""
        now = self.clock.now()
        due = [self.change_socket.next_heartbeat, self.waits.next_due(now) or now + EXPIRY_INTERVAL_MS]
        if self.read_only is None:
            due.append(self.sweep.next)
            if self.store.fsync == "interval" and self.store.unsynced:
                due.append(self.next_sync)
        return max(0, min(EXPIRY_INTERVAL_MS, min(due) - now))

    def tick(self, now: Milliseconds) -> None:
        """Do what is due: heartbeats, waits that are over, and what writes, as long as that can be."""
        self.waits.end_expired(now)
        self._end_tasks()
        self._maintain_memory(now)
        if self.reload_requested:
            self.reload()
        self.change_socket.tick(self.store.revision, now)
        if self.read_only is None:
            try:
                self._maintain_storage(now)
            except Refused as error:
                self.end_writes(self.store.diagnose(error).message)
        self.service.tick(self.status, now)

    def _maintain_storage(self, now: Milliseconds) -> None:
        """Do what is due in the storage: expiries, the sync of an interval, its own. Raises Refused when it failed."""
        if self.sweep.is_due(now):
            self.sweep.run(now)
        if self.store.fsync == "interval" and now >= self.next_sync:
            self.next_sync = now + FSYNC_INTERVAL_MS
            self.store.sync()
        self.store.tick(now)
        if self.service.is_due(now):
            self.store.probe_disk()

    def _maintain_memory(self, now: Milliseconds) -> None:
        """Look whether the process takes too much memory, and free what can be."""
        if self.memory_guard.tick(self.executor.answered, now):
            self.watchers.disconnect_all()
        self.executor.under_memory_pressure = self.memory_guard.under_pressure

    def end_writes(self, reason: str) -> None:
        """The storage has failed: nothing is written any more, and what is durable can still be read.

        After a failed fsync the page cache lies, so nothing can be tried again (as PostgreSQL, 2018).
        """
        if self.read_only is None:
            self.read_only = reason
            self.executor.end_writes(reason)
            log.critical(
                "event=read_only %s; no write is taken until kvd is started again: look at the disk first", reason
            )

    # A batch

    def run_batch(self, batch: list[Request]) -> None:
        """Run commands, commit them together, then answer; in parts if they take, write or answer very much."""
        while batch:
            now = self.clock.now()
            replies = self.executor.run_batch(batch, now)
            part, batch = batch[: len(replies)], batch[len(replies) :]
            self.batches += 1
            try:
                rows = self.executor.commit()
            except PASSING:
                for request in part:
                    self._run_alone(request, now)
                continue
            except Refused as error:
                rows, replies = [], [self.fail(error)] * len(part)
            self.command_socket.send(part, replies)
            self._after_commit(rows, now)
            if batch:
                self.tick(now)

    def _run_alone(self, request: Request, now: Milliseconds) -> None:
        """Run one command as a batch of its own, because together they failed: reads and CLEAR may still work."""
        replies = self.executor.run_batch([request], now)
        rows: list[Row] = []
        try:
            rows = self.executor.commit()
        except PASSING as error:
            replies = [self.executor.refuse(error)]
        except Refused as error:
            replies = [self.fail(error)]
        self.command_socket.send([request], replies)
        self._after_commit(rows, now)

    def fail(self, error: Refused) -> bytes:
        """The commit failed and may or may not be on disk: return what its batch is told. Never OK."""
        self.end_writes(f"a commit failed: {error.message}")
        return self.executor.refuse(Internal(f"the commit failed, its outcome is unknown: {error.message}"))

    def _after_commit(self, rows: list[Row], now: Milliseconds) -> None:
        """Publish changes, and answer those who waited for them."""
        if rows:
            self.change_socket.publish(rows)
            self.waits.wake(rows, now)
        if self.store.compacted > self.published_compacted:
            self.published_compacted = self.store.compacted
            self.change_socket.send_control(wire.encode_compacted(self.published_compacted))

    # Beside the batches

    def _end_tasks(self) -> None:
        """Tell what became of tasks that are done."""
        for envelope, outcome in self.background.pop_finished():
            self.command_socket.reply(envelope, self.executor.outcome_of(outcome))

    # Signals

    def reload(self) -> None:
        """SIGHUP came: read the files again. What waits or listens by rights of before ends and may ask again."""
        self.reload_requested = False
        if self.signals is not None:
            with contextlib.suppress(BlockingIOError):
                self.signals.recv(SIGNALS_MAX)
        with self.service.reloading():
            if self.authenticator is None:
                return
            before = self.authenticator.access
            if not self.authenticator.reload():
                return
            self.waits.end_all()
            if self.authenticator.access.revokes_any(before):
                self.watchers.disconnect_all()

    def status(self) -> str:
        """Return how we are, in a line."""
        if self.read_only is not None:
            return f"READ-ONLY: {self.read_only}"
        return f"revision {self.store.revision}, {self.clients.count} clients, {self.watchers.count} watchers"

    # The end

    def stop(self) -> None:
        """End after the batch at hand."""
        self.stopping = True

    def drain_and_stop(self) -> None:
        """Serve what has arrived, tell those who wait, and let the replies leave."""
        log.info("event=stopping")
        self.service.notify("STOPPING=1")
        self.turn(0)
        ending = ShuttingDown("the daemon is about to end; ask again")
        self.waits.refuse_all(ending)
        self.background.stop()
        self._end_tasks()
        self._last_sync()
        self.command_socket.socket.set(zmq.LINGER, STOP_DRAIN_MS)
        # libzmq loses, at the client, what has come just before the end of a connection: 1 of 15 on a busy machine.
        sleep(STOP_GRACE_MS / 1000)

    def _last_sync(self) -> None:
        """Make durable what an interval has left."""
        try:
            if self.read_only is None:
                self.store.sync()
        except Refused as error:
            self.end_writes(error.message)

    def close(self) -> None:
        """Close the sockets and let the endpoints go. The store is its owner's to close."""
        for connections, watched in ((self.clients, self.command_socket), (self.watchers, self.change_socket)):
            watched.socket.disable_monitor()
            connections.socket.close(0)
            watched.socket.close()
        if self.authenticator is not None:
            self.authenticator.socket.close()
        self.context.term()
        for bound in (*self.listening, *self.publishing):
            bound.close()
