"""Whether what clients saw of one key can have come from commands that ran one after the other. Pure: no daemon.

Wing & Gong (1993) with the memory of Lowe (2017), as Porcupine does: search for an order in which each operation
takes effect at one moment between its call and its return, remembering which (set of operations done, state) were
tried. One key is checked alone: linearizability is local, so a history is linearizable if each key's is.

An operation of unknown outcome stays open to infinity: it may take effect at any time after its call, or never. One
that is known not to have been executed is left out by the recorder: had it run all the same, reads show it.

With each kill some outcomes become unknown, and a search that may place each of them anywhere takes for ever. So those
that do the same are counted and not distinguished: the one called first goes first, which loses no order.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from math import inf
from typing import Any, NamedTuple

OK, CONFLICT, UNKNOWN = "ok", "conflict", "unknown"
TRIED_MAX = 1_000_000
NEVER_SEEN = -(10**18)


class Operation(NamedTuple):
    """A call on one key. Values are integers, so that INCR works on each; None is no value.

    `argument`: what SET sets or INCR adds. `condition`: the revision that SET asks for (0: no such key).
    `revision`: a write's own, or the one that CONFLICT reports.
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
    """The key's value and its revision: 0 without a value, None while no client has seen it."""

    value: int | None = None
    revision: int | None = 0


class Undecided(Exception):
    """The search took too long to say anything."""


def after(state: State, operation: Operation, known_revisions: Collection[int] = ()) -> State | None:
    """Return the state that an operation leaves, None if its result cannot have come from here.

    `known_revisions` are the revisions of the writes with a known outcome: another write has none of them.
    """
    if operation.outcome == UNKNOWN:
        return after_unknown(state, operation, known_revisions)
    if operation.outcome == CONFLICT:
        is_right = operation.revision != operation.condition and fits(state, operation.revision, known_revisions)
        return state._replace(revision=operation.revision) if is_right else None
    if operation.name == "GET":
        return state if operation.result == state.value else None
    if operation.name in ("SET", "INCR"):
        return after_write(state, operation, known_revisions)
    seen = state.value if operation.name == "TAKE" else int(state.value is not None)  # CLEAR returns a count
    return State() if operation.result == seen else None


def after_write(state: State, operation: Operation, known_revisions: Collection[int]) -> State | None:
    """Return the state that a SET or an INCR leaves, None if it cannot have run here: revisions rise, too."""
    if state.revision is not None and operation.revision <= state.revision:
        return None
    if operation.name == "SET":
        holds = operation.condition is None or fits(state, operation.condition, known_revisions)
        return State(operation.argument, operation.revision) if holds else None
    total = (state.value or 0) + operation.argument
    return State(total, operation.revision) if operation.result == total else None


def fits(state: State, revision: int | None, known_revisions: Collection[int]) -> bool:
    """Return whether the state's revision is this one, or may be: no client has seen it, and there is a value."""
    return state.revision == revision or (state.revision is None and bool(revision) and revision not in known_revisions)


def after_unknown(state: State, operation: Operation, known_revisions: Collection[int]) -> State | None:
    """Return the state if the operation took effect here, None if it would change nothing."""
    if operation.condition is not None and not fits(state, operation.condition, known_revisions):
        return None
    if operation.name in ("SET", "INCR"):
        before = (state.value or 0) if operation.name == "INCR" else 0
        return State(before + operation.argument, None)
    return State() if operation.name in ("CLEAR", "TAKE") and state.value is not None else None


def alike(known: Sequence[Operation], unknown: Sequence[Operation]) -> list[list[Operation]]:
    """Return operations of unknown outcome by what they do: a SET of a value that nobody saw is like any other such.

    A value was seen if some result is it, or may be it after INCRs.
    """
    results = sorted(each.result for each in known if each.name in ("GET", "TAKE", "INCR") and each.result is not None)
    reach = sum(abs(each.argument) for each in (*known, *unknown) if each.name == "INCR")
    kinds: dict[Operation, list[Operation]] = defaultdict(list)
    for operation in unknown:
        kind = operation._replace(called=0, name="CLEAR" if operation.name == "TAKE" else operation.name)
        if kind.name == "SET":
            at = bisect_left(results, kind.argument - reach)
            if at == len(results) or results[at] > kind.argument + reach:
                kind = kind._replace(argument=NEVER_SEEN)
        if kind.name != "GET":
            kinds[kind].append(kind._replace(called=operation.called))
    return list(kinds.values())


class Place(NamedTuple):
    """Where the search is: all known operations before `low` are done, those of the bits, and some unknown ones."""

    low: int
    done: int  # bit n: known[low + n]
    taken: tuple[int, ...]  # how many of each kind of unknown ones
    state: State


class Search:
    """The search for an order of one key's operations."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        by_call = sorted(operations, key=lambda operation: (operation.called, operation.returned))
        self.known = [operation for operation in by_call if operation.outcome != UNKNOWN]
        self.kinds = alike(self.known, [operation for operation in by_call if operation.outcome == UNKNOWN])
        self.told_revisions = {
            each.revision for each in self.known if each.name in ("SET", "INCR") and each.outcome == OK
        }
        self.furthest = Place(0, 0, (0,) * len(self.kinds), State())

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
                raise Undecided(self.describe())
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
        for kind, (operations, count) in enumerate(zip(self.kinds, place.taken, strict=True)):
            if count < len(operations) and operations[count].called <= limit:
                state = after(place.state, operations[count], self.told_revisions)
                if state is not None:
                    taken = (*place.taken[:kind], count + 1, *place.taken[kind + 1 :])
                    yield place._replace(taken=taken, state=state)
        for at in sorted(candidates, key=lambda at: -self.known[at].returned):
            if self.known[at].called <= limit:
                state = after(place.state, self.known[at], self.told_revisions)
                if state is not None:
                    yield advance(place, at, state)

    def describe(self) -> str:
        """Return where the search came no further, for the reader of a failure."""
        place = self.furthest
        near = self.known[max(0, place.low - 5) : place.low + 10]
        return "\n".join([f"stuck at {place}", *map(str, near)])


def advance(place: Place, at: int, state: State) -> Place:
    """Return the place with a known operation done; those at the beginning that are all done are forgotten."""
    low, done = place.low, place.done | 1 << (at - place.low)
    while done & 1:
        low, done = low + 1, done >> 1
    return Place(low, done, place.taken, state)


def check(operations: Sequence[Operation]) -> None:
    """Assert that a key's history is linearizable."""
    search = Search(operations)
    assert search.is_linearizable(), search.describe()
