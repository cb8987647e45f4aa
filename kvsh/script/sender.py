"""Sends commands to the daemon, many in flight, and reports their outcomes in the order of the lines."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from kvd.client.outcomes import Outcome
from kvd.client.refusals import Refusals
from kvd.client.stream import Stream
from kvd.commands import Command
from kvd.commands.values import Set
from kvsh.script.bulk import ANY_PLAIN_SET, PAIRS_MAX, Bulk, Pair, Sent, as_set_outcome, can_be_split, keys_of, pair_of
from kvsh.script.lines import LineBlock, SourceLine
from kvsh.script.refused import command_of, is_refused, select_retries

LINES_IN_FLIGHT_MAX = 8 * PAIRS_MAX  # of SETs sent together
# The longest wait of a line for others while input comes without a pause.
HELD_S = 0.01


class Sender:
    """Sends commands, many in flight.

    `on_outcome` receives each outcome in turn, and may raise to stop. `on_idle` is called before every wait.
    """

    def __init__(
        self, stream: Stream, window: int, on_outcome: Callable[[Sent, Outcome], None], on_idle: Callable[[], None]
    ) -> None:
        self.stream = stream
        self.window = window
        self.on_outcome = on_outcome
        self.on_idle = on_idle
        self.bulk = Bulk()
        self.held_until = 0.0  # deadline for sending the collected SETs
        self.awaited = 0  # lines without a reported outcome
        self.is_apart = False  # SETs are sent alone, because a MULTISET was refused
        self.is_ending = False
        self.refusals: Refusals[Sent] = Refusals(stream.timeout)

    def send(self, command: Command, where: SourceLine) -> None:
        """Send a command, after waiting for capacity."""
        self.release()
        self._wait_for_capacity(self.window - 1)
        self._send_now(command, Sent([where], command))
        if self.window == 1:
            self._wait_for_capacity(0)

    def gather(self, pairs: Sequence[Pair], run: LineBlock | SourceLine) -> None:
        """Send SETs, together with those that follow immediately."""
        if not self.bulk.pairs:
            self.held_until = time.monotonic() + HELD_S
        if self.bulk.add(pairs, run) or self.is_apart:
            self.release()

    def release(self) -> None:
        """Send the collected SETs."""
        if self.bulk.pairs:
            self._wait_for_capacity(self.window - 1, LINES_IN_FLIGHT_MAX - len(self.bulk.pairs))
            command, sent = self.bulk.pop()
            if self.is_apart:
                self._send_one_by_one(sent)
            else:
                self._send_now(command, sent)

    def _send_now(self, command: Command, sent: Sent) -> None:
        self.awaited += sent.size
        self.stream.send(command, sent)

    def _send_one_by_one(self, sent: Sent) -> None:
        """Send plain SETs one by one."""
        for where in sent.each():
            self._wait_for_capacity(self.window - 1)
            self._send_now(Set(*pair_of(where)), Sent([where], ANY_PLAIN_SET))

    def drain(self) -> None:
        """Send the collected SETs, and wait for all outcomes."""
        self.release()
        self._wait_for_capacity(0)

    def drain_for(self, seconds: float) -> None:
        """Take the outcomes that come within a time; send nothing more."""
        self.is_ending = True
        until = time.monotonic() + seconds
        while self.stream.in_flight and (left := until - time.monotonic()) > 0:
            self._take(left)

    def _wait_for_capacity(self, in_flight: int, lines: int | None = None) -> None:
        """Take outcomes until at most `in_flight` commands and, if given, at most `lines` lines are in flight."""
        while self.stream.in_flight > in_flight or (
            lines is not None and self.stream.in_flight and self.awaited > lines
        ):
            self._take(None)

    def _take(self, wait_s: float | None) -> None:
        """Take the available outcomes; wait at most `wait_s` for the first (None: without limit)."""
        outcomes = deque(self._receive(wait_s))
        while outcomes:
            sent, outcome = outcomes.popleft()
            if is_refused(sent, outcome) and not self.is_ending:
                outcomes = deque(self._retry([(sent, outcome), *outcomes, *self._receive_all()]))
                sent, outcome = outcomes.popleft()
            if can_be_split(sent, outcome) and not self.is_ending:
                self.is_apart = True
                outcomes += self._receive_all()
                self._split(sent, outcome, keys_of([behind for behind, _ in outcomes]))
            else:
                self._report(sent, outcome)

    def _receive(self, wait_s: float | None) -> list[tuple[Sent, Outcome]]:
        """Return the available outcomes; wait at most `wait_s` for the first."""
        outcomes = self.stream.receive(0)
        if not outcomes and wait_s != 0:
            self.on_idle()
            outcomes = self.stream.receive(wait_s)
        return outcomes

    def _receive_all(self) -> Iterator[tuple[Sent, Outcome]]:
        """Yield the outcomes of all commands in flight, as they come."""
        while self.stream.in_flight:
            yield from self._receive(None)

    def _report(self, sent: Sent, outcome: Outcome) -> None:
        self.awaited -= sent.size
        self.on_outcome(sent, as_set_outcome(outcome) if sent.command is ANY_PLAIN_SET else outcome)

    def _retry(self, outcomes: Sequence[tuple[Sent, Outcome]]) -> Iterator[tuple[Sent, Outcome]]:
        """Yield the outcomes in order. Commands that got BUSY, and those that must follow them, are sent again."""
        retries = select_retries(outcomes)
        for place, (sent, outcome) in enumerate(outcomes):
            yield sent, self._retry_until_accepted(sent, outcome) if place in retries else outcome

    def _retry_until_accepted(self, sent: Sent, outcome: Outcome) -> Outcome:
        """Send a command again, with nothing else in flight, until it is accepted or the time is over."""
        latest = outcome
        while not is_refused(sent, latest) or self.refusals.keeps(sent, latest, time.monotonic()):
            self.on_idle()
            time.sleep(self.refusals.pause_s)
            self.stream.send(command_of(sent), sent)
            [(_, latest)] = self.stream.receive()
            if not is_refused(sent, latest):
                self.refusals.keeps(sent, latest, time.monotonic())
                return latest
        return outcome

    def _split(self, refused: Sent, refusal: Outcome, behind: set[bytes] | None) -> None:
        """Send the lines of a refused MULTISET again, one by one, and report the outcome of each.

        A line is not sent again if its key was set `behind` it, and no line is if another command was sent (None): the
        order of the script would change.
        """
        lines = [Sent([where], ANY_PLAIN_SET) for where in refused.each()]
        again = [] if behind is None else [line for line in lines if pair_of(line.first)[0] not in behind]
        outcomes = deque(self._send_and_receive(again))
        for line in lines:
            self._report(line, outcomes.popleft()[1] if outcomes and outcomes[0][0] is line else refusal)

    def _send_and_receive(self, lines: Sequence[Sent]) -> Iterator[tuple[Sent, Outcome]]:
        """Send plain SETs one by one, with nothing else in flight, and yield their outcomes."""
        for line in lines:
            self.stream.send(Set(*pair_of(line.first)), line)
            if self.stream.in_flight >= self.window:
                yield from self.stream.receive()
        while self.stream.in_flight:
            yield from self.stream.receive()

    def wait_for(self, fd: int) -> None:
        """Return when a descriptor can be read. Until then, send the collected SETs and take outcomes."""
        if self.bulk.pairs and time.monotonic() >= self.held_until:
            self.release()
        self.stream.until_readable(fd, self._catch_up)

    def _catch_up(self) -> None:
        """Send the collected SETs, and take the available outcomes."""
        self.release()
        self._take(0)
        self.on_idle()
