"""The promises of a watch, in etcd's words (its tests/robustness/validate/watch.go), checked on a recording. Pure.

    ordered       no change comes after one with a higher revision
    unique        no change comes twice
    reliable      no matching change between two that came is missing
    atomic        what one command changed is never seen in part; see below
    resumable     a new watch from a bookmark starts with the next matching change
    bookmarkable  when a bookmark names a revision, all up to it has come, and nothing up to it comes later

Atomic. etcd gives all changes of a transaction one revision. kvd numbers each change, so that a list of `take`,
and `Watch.revision`, may end inside a MULTISET or TRANSACTION. kvd promises, and `atomic` checks: the
changes of one command (an *atom*) have consecutive revisions; a heartbeat never names a revision inside an atom,
so that a state built up to a heartbeat is one that a reader could have seen; and a watch that has shown one
matching change of an atom shows them all, with none of another command between, also if it is resumed from a
bookmark inside.

COMPACTED excuses the changes up to its revision, and nothing else.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

DELIVERED, BOOKMARK, HEARTBEAT, RESUMED, COMPACTED = "delivered", "bookmark", "heartbeat", "resumed", "compacted"


class Event(NamedTuple):
    """One line of a recorded stream. A stream begins with `resumed`, also if that is from now on."""

    what: str
    revision: int
    kind: str = ""
    key: str = ""
    value: str | None = None


def list_changes(stream: Sequence[Event]) -> list[Event]:
    """Return the changes of a stream."""
    return [event for event in stream if event.what == DELIVERED]


def match_changes(journal: Sequence[Event], prefixes: Sequence[str]) -> list[Event]:
    """Return the changes of a journal that a watch of these prefixes has to see."""
    return [change for change in journal if change.key.startswith(tuple(prefixes))]


def is_ordered(stream: Sequence[Event]) -> bool:
    """Return whether no change comes after one with a higher revision."""
    return all(a.revision <= b.revision for a, b in pairwise(list_changes(stream)))


def is_unique(stream: Sequence[Event]) -> bool:
    """Return whether no change comes twice."""
    revisions = [event.revision for event in list_changes(stream)]
    return len(set(revisions)) == len(revisions)


def list_excused(stream: Sequence[Event]) -> set[int]:
    """Return the revisions that the stream cannot get: from its position up to the compacted revision."""
    gone: set[int] = set()
    position = 0
    for event in stream:
        if event.what == COMPACTED:
            gone.update(range(position + 1, event.revision + 1))
        position = max(position, event.revision)
    return gone


def is_reliable(stream: Sequence[Event], wanted: Sequence[Event]) -> bool:
    """Return whether exactly the wanted changes come, between the first and the last that do."""
    came = list_changes(stream)
    if not came:
        return True
    gone = list_excused(stream)
    seen = set(came)
    between = [c for c in wanted if came[0].revision <= c.revision <= came[-1].revision]
    return seen == {c for c in between if c in seen or c.revision not in gone}


def is_atomic(stream: Sequence[Event], wanted: Sequence[Event], journal: Sequence[Event]) -> bool:
    """Return whether no command is seen in part. A value begins with its atom's name, which ends in its size: `7/3`."""
    atoms = list(atoms_in(journal))
    if not all(is_whole(atom) for atom in atoms):
        return False
    beats = sorted({event.revision for event in stream if event.what == HEARTBEAT})
    if any(bisect_left(beats, a.revision) != bisect_left(beats, z.revision) for a, *_, z in atoms):
        return False
    came, gone = list_changes(stream), list_excused(stream)
    shown = {change.revision for change in came}
    start = next((event.revision for event in stream), 0)
    for atom in atoms_in(wanted):
        asked = [c.revision for c in atom if c.revision > start and c.revision not in gone]
        if shown.intersection(asked) and not shown.issuperset(asked):
            return False
    names = [name for name, _ in groups(came) if name is not None]
    return len(names) == len(set(names))


def atom_of(change: Event) -> str | None:
    """Return the name of a change's atom, None for a change that is alone."""
    head = (change.value or "").partition(" ")[0]
    return head if "/" in head else None


def groups(changes: Sequence[Event]) -> Iterator[tuple[str | None, list[Event]]]:
    """Yield changes by their atoms. A write to a key that is over and not swept yields its EXPIRED first."""
    names: list[str | None] = []
    for change, following in zip(changes, [*changes[1:], None], strict=False):  # of no changes nothing follows
        name = atom_of(change)
        is_within = change.kind == "EXPIRED" and following is not None and following.key == change.key
        if is_within and names and names[-1] == atom_of(following):
            name = names[-1]
        names.append(name)
    for name, group in groupby(zip(names, changes, strict=True), lambda pair: pair[0]):
        yield name, [change for _, change in group]


def is_whole(atom: Sequence[Event]) -> bool:
    """Return whether an atom of the journal has as many changes as it says, and no revision among them is another's."""
    size = int((atom_of(atom[0]) or "/1").partition("/")[2])
    has_all = sum(change.kind == "SET" for change in atom) == size
    return has_all and atom[-1].revision - atom[0].revision == len(atom) - 1


def atoms_in(changes: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield the atoms of two changes or more."""
    for name, found in groups(changes):
        if name is not None and len(found) > 1:
            yield found


def is_resumable(stream: Sequence[Event], wanted: Sequence[Event]) -> bool:
    """Return whether the first change after each `resumed` is the next matching one."""
    waiting: int | None = None
    for event in stream:
        if event.what == RESUMED:
            waiting = event.revision
        elif event.what == COMPACTED:
            waiting = None
        elif event.what == DELIVERED and waiting is not None:
            first = next((change for change in wanted if change.revision > waiting), None)
            if event != first:
                return False
            waiting = None
    return True


def is_bookmarkable(stream: Sequence[Event], wanted: Sequence[Event]) -> bool:
    """Return whether at each bookmark all up to it has come, and nothing up to it comes later."""
    start, marked, gone = stream[0].revision if stream else 0, 0, list_excused(stream)
    came: set[int] = set()
    missing = [c.revision for c in wanted if c.revision > start and c.revision not in gone]
    at = 0
    for event in stream:
        if event.what == DELIVERED:
            if event.revision <= marked:
                return False
            came.add(event.revision)
        elif event.what in (BOOKMARK, HEARTBEAT):
            marked = max(marked, event.revision)
            while at < len(missing) and missing[at] <= event.revision:
                if missing[at] not in came:
                    return False
                at += 1
    return True


def broken(stream: Sequence[Event], journal: Sequence[Event], prefixes: Sequence[str]) -> list[str]:
    """Return which promises a stream breaks."""
    wanted = match_changes(journal, prefixes)
    kept = {
        "ordered": is_ordered(stream),
        "unique": is_unique(stream),
        "reliable": is_reliable(stream, wanted),
        "atomic": is_atomic(stream, wanted, journal),
        "resumable": is_resumable(stream, wanted),
        "bookmarkable": is_bookmarkable(stream, wanted),
    }
    return [name for name, is_kept in kept.items() if not is_kept]
