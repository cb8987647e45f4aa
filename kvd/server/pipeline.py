"""The life of a batch: decode, authorize, apply, commit, and a retry one by one when the commit fails.

    run_batch (Executor)  ->  one commit, one fsync  ->  Answered: the replies to send, the changes to publish

Group commit makes durable writes fast: fifty clients share one fsync. A reply leaves only after the commit, so the
loop sends what `run` yields and never holds a reply itself.

When a commit fails with FULL or BUSY it has changed nothing. The commands of the batch then run one by one, each with
its own commit: reads and CLEAR may still work. Any other failure leaves the outcome unknown: all clients of the batch
get INTERNAL, and the daemon becomes read-only.
"""

from collections.abc import Iterator, Sequence
from time import perf_counter_ns
from typing import Any, NamedTuple

from kvd.commands.model import Milliseconds, Row, StagedChanges
from kvd.errors import Busy, Full, Internal, Refused
from kvd.server.clock import Clock
from kvd.server.executor import Executor
from kvd.server.slow_log import COMMIT
from kvd.server.sockets.frames import Request

# A commit that fails with one of these has changed nothing, and the next may succeed.
PASSING = (Full, Busy)


class Answered(NamedTuple):
    """The answered part of a batch: its replies (None for a command that waits) and its committed changes."""

    requests: list[Request]
    replies: Sequence[bytes | None]
    rows: list[Row]
    now: Milliseconds
    is_partial: bool  # the rest of the batch follows


class BatchPipeline:
    """Runs and commits batches."""

    def __init__(self, executor: Executor, clock: Clock) -> None:
        self.executor = executor
        self.clock = clock
        self.batches = 0
        self.commits = self.commit_ns = self.commit_max_ns = 0

    def run(self, batch: list[Request]) -> Iterator[Answered]:
        """Run and commit a batch, and yield its answers. Splits it where a limit (time, bytes) is reached."""
        while batch:
            now = self.clock.now()
            replies = self.executor.run_batch(batch, now)
            part, batch = batch[: len(replies)], batch[len(replies) :]
            self.batches += 1
            try:
                rows = self.commit()
            except PASSING:
                yield from (self._run_alone(request, now) for request in part)
                continue
            except Refused as error:
                rows, replies = [], [self.fail(error)] * len(part)
            yield Answered(part, replies, rows, now, bool(batch))

    def _run_alone(self, request: Request, now: Milliseconds) -> Answered:
        """Run one command as a batch of its own, after the commit of its batch failed."""
        rows: list[Row] = []
        replies = self.executor.run_batch([request], now)
        try:
            rows = self.commit()
        except PASSING as error:
            replies = [self.executor.refuse(error)]
        except Refused as error:
            replies = [self.fail(error)]
        return Answered([request], replies, rows, now, is_partial=False)

    def commit(self) -> list[Row]:
        """Commit the staged changes; return their rows. When it fails, the staged changes are discarded."""
        staged = self.executor.take()
        is_committed = False
        try:
            if staged is not None:
                self._commit_timed(staged)
            is_committed = True
        finally:
            self.executor.end_batch(is_committed=is_committed)
        return [] if staged is None else staged.rows

    def _commit_timed(self, staged: StagedChanges) -> None:
        """Commit, and measure the time, also of a commit that fails."""
        began = perf_counter_ns()
        try:
            self.executor.store.commit(staged)
        finally:
            took = perf_counter_ns() - began
            self.commits += 1
            self.commit_ns += took
            self.commit_max_ns = max(self.commit_max_ns, took)
            self.executor.slow_log.note_shared(COMMIT, len(staged.rows), took, self.clock.last)

    def fail(self, error: Refused) -> bytes:
        """Make the daemon read-only after a commit that may or may not be on disk; return the reply. Never OK."""
        self.executor.end_writes(f"a commit failed: {error.message}")
        return self.executor.refuse(Internal(f"the commit failed, its outcome is unknown: {error.message}"))

    def facts(self) -> dict[str, Any]:
        """Return the commits of INFO's section `latency`."""
        return {
            "commits": self.commits,
            "commit_us": self.commit_ns // 1_000,
            "commit_max_us": self.commit_max_ns // 1_000,
        }
