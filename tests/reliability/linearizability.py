"""Whether what clients saw of one key can have come from commands that ran one after the other. Pure: no daemon.

Wing & Gong (1993) with the memory of Lowe (2017), as Porcupine does: search for an order in which each operation
takes effect at one moment between its call and its return, remembering which (set of operations done, state) were
tried. One key is checked alone: linearizability is local, so a history is linearizable if each key's is.

An operation of unknown outcome stays open to infinity: it may take effect at any time after its call, or never. One
that is known not to have been executed is left out by whoever records: had it run all the same, reads show it.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any, NamedTuple

OK, CONFLICT, UNKNOWN = "ok", "conflict", "unknown"
TRIED_MAX = 2_000_000


class Operation(NamedTuple):
    """A call on one key. Values are integers, so that INCR works on each; None is no value.

    `argument`: what SET sets or INCR adds. `condition`: the revision that SET asks for (0: no such key).
    `revision`: a write's own, or the one that CONFLICT tells.
    """

    name: str
    called: float
    returned: float = inf
    argument: int | None = None
    condition: int | None = None
    outcome: str = OK
    result: Any = None
    revision: int | None = None


class State(NamedTuple):
    """The key's value and its revision: 0 without a value, None while nobody was told it."""

    value: int | None = None
    revision: int | None = 0


class Undecided(Exception):
    """The search took too long to say anything."""


def after(state: State, operation: Operation) -> State | None:
    """Return the state that an operation leaves, None if what it told its caller cannot have come from here."""
    if operation.outcome == UNKNOWN:
        return after_unknown(state, operation)
    if operation.outcome == CONFLICT:
        is_told_right = operation.revision != operation.condition and fits(state, operation.revision)
        return state._replace(revision=operation.revision) if is_told_right else None
    if operation.name == "GET":
        return state if operation.result == state.value else None
    if operation.name == "SET":
        holds = operation.condition is None or fits(state, operation.condition)
        return State(operation.argument, operation.revision) if holds else None
    if operation.name == "INCR":
        total = (state.value or 0) + operation.argument
        return State(total, operation.revision) if operation.result == total else None
    seen = state.value if operation.name == "TAKE" else int(state.value is not None)  # CLEAR tells how many there were
    return State() if operation.result == seen else None


def fits(state: State, revision: int | None) -> bool:
    """Return whether the state's revision is this one, or may be: nobody was told it, and there is a value."""
    return state.revision == revision or (state.revision is None and bool(revision))


def after_unknown(state: State, operation: Operation) -> State | None:
    """Return the state if the operation took effect here, None if it would change nothing."""
    if operation.condition is not None and not fits(state, operation.condition):
        return None
    if operation.name in ("SET", "INCR"):
        before = (state.value or 0) if operation.name == "INCR" else 0
        return State(before + operation.argument, None)
    return State() if operation.name in ("CLEAR", "TAKE") and state.value is not None else None


class Place(NamedTuple):
    """Where the search is: all known operations before `low` are done, and those of the two sets of bits."""

    low: int
    done: int  # bit n: known[low + n]
    taken: int  # bit n: unknown[n]
    state: State


class Search:
    """The search for an order of one key's operations."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        by_call = sorted(operations, key=lambda operation: (operation.called, operation.returned))
        self.known = [operation for operation in by_call if operation.outcome != UNKNOWN]
        self.unknown = [operation for operation in by_call if operation.outcome == UNKNOWN]
        self.furthest = Place(0, 0, 0, State())

    def is_linearizable(self) -> bool:
        """Return whether there is such an order; raises Undecided."""
        tried = {self.furthest}
        stack = [self.furthest]
        while stack:
            place = stack.pop()
            if place.low == len(self.known):
                return True
            self.furthest = max(self.furthest, place, key=lambda each: each.low)
            fresh = [found for found in self.next_places(place) if found not in tried]
            tried.update(fresh)
            stack += fresh
            if len(tried) > TRIED_MAX:
                raise Undecided(self.told())
        return False

    def next_places(self, place: Place) -> Iterator[Place]:
        """Yield where one more operation may lead; the most likely last, because it is looked at first."""
        limit = inf  # nothing that was called after another had returned can come before it
        candidates = []
        at = place.low
        while at < len(self.known) and self.known[at].called <= limit:
            if not place.done >> (at - place.low) & 1:
                candidates.append(at)
                limit = min(limit, self.known[at].returned)
            at += 1
        for bit, operation in enumerate(self.unknown):
            if operation.called <= limit and not place.taken >> bit & 1:
                state = after(place.state, operation)
                if state is not None:
                    yield place._replace(taken=place.taken | 1 << bit, state=state)
        for at in sorted(candidates, key=lambda at: -self.known[at].returned):
            state = after(place.state, self.known[at]) if self.known[at].called <= limit else None
            if state is not None:
                yield moved(place, at, state)

    def told(self) -> str:
        """Return where the search came no further, for whoever has to find out why."""
        place = self.furthest
        near = self.known[max(0, place.low - 5) : place.low + 10]
        return "\n".join([f"stuck at {place}", *map(str, near), "unknown:", *map(str, self.unknown)])


def moved(place: Place, at: int, state: State) -> Place:
    """Return the place with a known operation done; those at the beginning that are all done are forgotten."""
    low, done = place.low, place.done | 1 << (at - place.low)
    while done & 1:
        low, done = low + 1, done >> 1
    return Place(low, done, place.taken, state)


def check(operations: Sequence[Operation]) -> None:
    """Assert that a key's history is linearizable."""
    search = Search(operations)
    assert search.is_linearizable(), search.told()
