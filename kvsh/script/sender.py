"""Commands on their way to the daemon and their outcomes on the way back, in the order of the lines."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from kvd.client.outcomes import Outcome
from kvd.client.refusals import Refusals
from kvd.client.stream import Stream
from kvd.commands import Command
from kvd.commands.values import Set
from kvsh.script.bulk import EXAMPLE, PAIRS_MAX, Bulk, Pair, Sent, as_set_outcome, can_be_split, keys_of, pair_of
from kvsh.script.lines import LineBlock, SourceLine
from kvsh.script.refused import command_of, is_refused, repeated

LINES_IN_FLIGHT_MAX = 8 * PAIRS_MAX  # of those that go together
# How long a line may wait for others though input comes without a pause.
HELD_S = 0.01


class Sender:
    """Sends commands, many in flight.

    `took` is given each outcome in turn and may raise to end it all; `idle` is called before anything is waited for.
    """

    def __init__(
        self, stream: Stream, window: int, took: Callable[[Sent, Outcome], None], idle: Callable[[], None]
    ) -> None:
        self.stream = stream
        self.window = window
        self.took = took
        self.idle = idle
        self.bulk = Bulk()
        self.held_until = 0.0  # when what is gathered is sent at the latest
        self.awaited = 0  # lines whose outcome is not told
        self.is_apart = False  # each SET goes alone, for some that went together were refused
        self.is_ending = False
        self.refusals: Refusals[Sent] = Refusals(stream.timeout)

    def send(self, command: Command, where: SourceLine) -> None:
        """Send a command, when there is room."""
        self.release()
        self._wait_for_capacity(self.window - 1)
        self._give(command, Sent([where], command))
        if self.window == 1:
            self._wait_for_capacity(0)

    def gather(self, pairs: Sequence[Pair], run: LineBlock | SourceLine) -> None:
        """Send SETs, together with those that follow at once."""
        if not self.bulk.pairs:
            self.held_until = time.monotonic() + HELD_S
        if self.bulk.add(pairs, run) or self.is_apart:
            self.release()

    def release(self) -> None:
        """Send what is gathered."""
        if self.bulk.pairs:
            self._wait_for_capacity(self.window - 1, LINES_IN_FLIGHT_MAX - len(self.bulk.pairs))
            command, sent = self.bulk.taken()
            if self.is_apart:
                self._give_apart(sent)
            else:
                self._give(command, sent)

    def _give(self, command: Command, sent: Sent) -> None:
        """Give a command to the stream."""
        self.awaited += sent.size
        self.stream.send(command, sent)

    def _give_apart(self, sent: Sent) -> None:
        """Send plain SETs one by one."""
        for where in sent.each():
            self._wait_for_capacity(self.window - 1)
            self._give(Set(*pair_of(where)), Sent([where], EXAMPLE))

    def drain(self) -> None:
        """Send what is gathered and take the outcomes of all that is under way."""
        self.release()
        self._wait_for_capacity(0)

    def drain_for(self, seconds: float) -> None:
        """Take the outcomes that come within a time; nothing more is sent."""
        self.is_ending = True
        until = time.monotonic() + seconds
        while self.stream.in_flight and (left := until - time.monotonic()) > 0:
            self.take(left)

    def _wait_for_capacity(self, in_flight: int, lines: int | None = None) -> None:
        """Take outcomes until no more than so many commands are awaited, and, if said, no more than so many lines."""
        while self.stream.in_flight > in_flight or (
            lines is not None and self.stream.in_flight and self.awaited > lines
        ):
            self.take(None)

    def take(self, wait_s: float | None) -> None:
        """Take the outcomes that are there; wait for the first."""
        outcomes = deque(self.receive(wait_s))
        while outcomes:
            sent, outcome = outcomes.popleft()
            if is_refused(sent, outcome) and not self.is_ending:
                outcomes = deque(self._repeated([(sent, outcome), *outcomes, *self._all_received()]))
                sent, outcome = outcomes.popleft()
            if can_be_split(sent, outcome) and not self.is_ending:
                self.is_apart = True
                outcomes += self._all_received()
                self.part(sent, outcome, keys_of([behind for behind, _ in outcomes]))
            else:
                self._tell(sent, outcome)

    def receive(self, wait_s: float | None) -> list[tuple[Sent, Outcome]]:
        """Return the outcomes that are there; wait for the first."""
        outcomes = self.stream.receive(0)
        if not outcomes and wait_s != 0:
            self.idle()
            outcomes = self.stream.receive(wait_s)
        return outcomes

    def _all_received(self) -> Iterator[tuple[Sent, Outcome]]:
        """Yield the outcomes of all that is under way, as they come."""
        while self.stream.in_flight:
            yield from self.receive(None)

    def _tell(self, sent: Sent, outcome: Outcome) -> None:
        """Give an outcome to who wants it."""
        self.awaited -= sent.size
        self.took(sent, as_set_outcome(outcome) if sent.command is EXAMPLE else outcome)

    def _repeated(self, outcomes: Sequence[tuple[Sent, Outcome]]) -> Iterator[tuple[Sent, Outcome]]:
        """Yield the outcomes in their order; what got BUSY is sent again, and what has to follow it."""
        again = repeated(outcomes)
        for place, (sent, outcome) in enumerate(outcomes):
            yield sent, self.persist(sent, outcome) if place in again else outcome

    def persist(self, sent: Sent, outcome: Outcome) -> Outcome:
        """Send a command again, with nothing else in flight, until its outcome is not BUSY or the time is over."""
        found = outcome
        while not is_refused(sent, found) or self.refusals.keeps(sent, found, time.monotonic()):
            self.idle()
            time.sleep(self.refusals.pause_s)
            self.stream.send(command_of(sent), sent)
            [(_, found)] = self.stream.receive()
            if not is_refused(sent, found):
                self.refusals.keeps(sent, found, time.monotonic())
                return found
        return outcome

    def part(self, refused: Sent, refusal: Outcome, behind: set[bytes] | None) -> None:
        """Send the lines of a refused MULTISET again, one by one, and tell the outcome of each.

        Not those whose keys were set again `behind` it, and none if another command was: they would come too late.
        """
        lines = [Sent([where], EXAMPLE) for where in refused.each()]
        again = [] if behind is None else [line for line in lines if pair_of(line.first)[0] not in behind]
        outcomes = deque(self.answers(again))
        for line in lines:
            self._tell(line, outcomes.popleft()[1] if outcomes and outcomes[0][0] is line else refusal)

    def answers(self, lines: Sequence[Sent]) -> Iterator[tuple[Sent, Outcome]]:
        """Send plain SETs one by one, with nothing else under way, and yield their outcomes."""
        for line in lines:
            self.stream.send(Set(*pair_of(line.first)), line)
            if self.stream.in_flight >= self.window:
                yield from self.stream.receive()
        while self.stream.in_flight:
            yield from self.stream.receive()

    def wait_for(self, fd: int) -> None:
        """Return when a descriptor can be read. While it cannot, send what is gathered and take outcomes."""
        if self.bulk.pairs and time.monotonic() >= self.held_until:
            self.release()
        self.stream.until_readable(fd, self.catch_up)

    def catch_up(self) -> None:
        """Send what is gathered, and take the outcomes that are there."""
        self.release()
        self.take(0)
        self.idle()
