"""The checker says no to histories that are wrong, and yes to those that are right (it judges R9)."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.linearizability import CONFLICT, UNKNOWN, Operation, Search, State, after


def a_get(called, returned, result):
    return Operation("GET", called, returned, result=result)


def a_set(called, returned, value, revision=1, condition=None):
    return Operation("SET", called, returned, value, condition, revision=revision)


def an_incr(called, returned, result, revision=1):
    return Operation("INCR", called, returned, 1, result=result, revision=revision)


def a_conflict(called, returned, condition, revision):
    return Operation("SET", called, returned, 99, condition, CONFLICT, revision=revision)


def a_take(called, returned, result):
    return Operation("TAKE", called, returned, result=result)


def a_clear(called, returned, result):
    return Operation("CLEAR", called, returned, result=result)


def lost(name, called, argument=None, condition=None):
    return Operation(name, called, inf, argument, condition, UNKNOWN)


WRONG = {
    "a stale read": [a_set(0, 1, 1), a_set(2, 3, 2, 2), a_get(4, 5, 1)],
    "a value never written": [a_set(0, 1, 1), a_get(2, 3, 7)],
    "an acknowledged write lost": [a_set(0, 1, 1), a_get(2, 3, None)],
    "a read before the write was called": [a_get(0, 1, 1), a_set(2, 3, 1)],
    "a write seen before and not after": [a_set(0, 9, 1), a_get(1, 2, 1), a_get(3, 4, None)],
    "two writes seen in two orders": [
        *(a_set(0, 9, 1), a_set(0, 9, 2, 2)),
        *(a_get(1, 2, 1), a_get(3, 4, 2), a_get(5, 6, 1), a_get(7, 8, 2)),
    ],
    "an INCR run twice": [an_incr(0, 1, 1), an_incr(2, 3, 3, 2)],
    "an update lost by two INCRs": [an_incr(0, 2, 1), an_incr(1, 3, 1, 2)],
    "a CONFLICT that should have been OK": [a_set(0, 1, 1, 5), a_conflict(2, 3, 5, 5)],
    "a CONFLICT that reports another revision": [a_set(0, 1, 1, 5), a_conflict(2, 3, 4, 6)],
    "an OK that should have been a CONFLICT": [a_set(0, 1, 1, 5), a_set(2, 3, 2, 6, condition=4)],
    "two winners of one condition": [a_set(0, 5, 1, 1, condition=0), a_set(0, 5, 2, 2, condition=0)],
    "a value taken twice": [a_set(0, 1, 1), a_take(2, 5, 1), a_take(3, 6, 1)],
    "a value taken and still there": [a_set(0, 1, 1), a_take(2, 3, 1), a_get(4, 5, 1)],
    "a CLEAR that found nothing": [a_set(0, 1, 1), a_clear(2, 3, 0)],
    "a CLEAR that found what was not there": [a_clear(2, 3, 1)],
    "an unknown write seen before it was called": [a_get(0, 1, 1), lost("SET", 2, 1)],
    "an unknown write seen, gone and back": [
        *(a_set(0, 1, 1), lost("SET", 2, 2)),
        *(a_get(3, 4, 2), a_get(5, 6, 1)),
    ],
    "an unknown INCR run twice": [an_incr(0, 1, 1), lost("INCR", 2, 1), a_get(3, 4, 3)],
    "an unknown condition that did not hold": [a_set(0, 1, 1, 5), lost("SET", 2, 2, condition=4), a_get(3, 4, 2)],
    "a revision that falls": [a_set(0, 1, 1, 5), a_set(2, 3, 2, 4)],
    "an unknown write's revision that is another's": [
        a_set(0, 1, 1, 5),
        lost("SET", 2, 2),
        a_get(3, 4, 2),
        a_conflict(5, 6, 1, 5),
    ],
    "two revisions of one write": [lost("SET", 0, 1), a_conflict(1, 2, 9, 3), a_conflict(3, 4, 9, 4), a_get(5, 6, 1)],
}
RIGHT = {
    "nothing": [],
    "one after the other": [a_set(0, 1, 1), a_get(2, 3, 1), a_clear(4, 5, 1), a_get(6, 7, None), an_incr(8, 9, 1)],
    "a read beside a write sees either": [a_set(0, 9, 1), a_get(1, 2, None), a_get(3, 4, 1)],
    "the later of two that overlap": [a_set(0, 9, 1, 3), a_set(1, 8, 2, 2), a_get(10, 11, 1)],
    "one winner of a condition": [a_set(0, 5, 1, 1, condition=0), a_conflict(0, 5, 0, 1)],
    "a condition kept": [a_set(0, 1, 1, 5), a_set(2, 3, 2, 7, condition=5), a_conflict(4, 5, 5, 7)],
    "an unknown write that never was": [a_set(0, 1, 1), lost("SET", 2, 2), a_get(3, 4, 1)],
    "an unknown write that was": [a_set(0, 1, 1), lost("SET", 2, 2), a_get(3, 4, 2)],
    "an unknown write that took effect late": [a_set(0, 1, 1), lost("SET", 2, 2), a_get(3, 4, 1), a_get(5, 6, 2)],
    "an unknown TAKE that was": [a_set(0, 1, 1), lost("TAKE", 2), a_get(3, 4, None)],
    "an unknown CLEAR between two writes": [a_set(0, 1, 1), lost("CLEAR", 2), a_set(3, 4, 3, 9, condition=0)],
    "an unknown INCR that was, once": [an_incr(0, 1, 1), lost("INCR", 2, 1), an_incr(3, 4, 3)],
    "an unknown write's revision, reported later": [lost("SET", 0, 1), a_conflict(1, 2, 9, 3), a_conflict(3, 4, 9, 3)],
    "an unknown condition that held": [a_set(0, 1, 1, 5), lost("SET", 2, 2, condition=5), a_get(3, 4, 2)],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_refused(name):
    search = Search(WRONG[name])
    assert not search.is_linearizable()
    assert "stuck" in search.describe()


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_history_is_accepted(name):
    assert Search(RIGHT[name]).is_linearizable()


CALLS = st.tuples(
    st.sampled_from(["GET", "SET", "SET IF", "SET UNLESS", "INCR", "TAKE", "CLEAR"]),
    st.floats(0, 3),  # how long before its moment it is called
    st.floats(0, 3),  # how long after it returns
    st.sampled_from([True, True, True, False]),  # whether its reply comes
)


def ran(name, number, state, **times):
    """Return the command's result if it runs now; number is the moment, and makes values and revisions unique."""
    revision, there = number + 1, int(state.value is not None)
    sets = {"argument": 1000 * revision, "revision": revision}
    conflicts = {"argument": 77, "condition": state.revision + 1, "outcome": CONFLICT, "revision": state.revision}
    told = {
        "GET": {"result": state.value},
        "SET": sets,
        "SET IF": {**sets, "condition": state.revision},
        "SET UNLESS": conflicts,
        "INCR": {"argument": 1, "result": (state.value or 0) + 1, "revision": revision},
        "TAKE": {"result": state.value},
        "CLEAR": {"result": there},
    }
    return Operation(name.partition(" ")[0], **times, **told[name])


def history_of(calls):
    """Run commands one after the other, each at a moment of its own; return what their callers saw around it."""
    state, history = State(), []
    for number, (name, before, later, is_told) in enumerate(calls):
        operation = ran(name, number, state, called=number - before, returned=number + later)
        state = after(state, operation)
        if not is_told and name != "GET":
            operation = operation._replace(returned=inf, outcome=UNKNOWN, result=None, revision=None)
        history.append(operation)
    return history


@given(st.lists(CALLS, max_size=25))
def test_what_ran_one_after_the_other_is_accepted_however_long_the_calls_took(calls):
    assert Search(history_of(calls)).is_linearizable()


@given(st.lists(CALLS, max_size=15), st.data())
def test_a_read_of_what_was_never_there_is_refused(calls, data):
    history = [*history_of(calls), a_get(99, 100, None)]
    history[-1] = a_get(99, 100, 7)  # values are 1000 a revision, and INCR adds at most 15
    at = data.draw(st.sampled_from([n for n, operation in enumerate(history) if operation.name == "GET"]))
    history[at] = history[at]._replace(result=999)
    assert not Search(history).is_linearizable()


@given(st.lists(st.just(("SET", 0.0, 0.5, True)), min_size=2, max_size=15), st.data())
def test_a_read_of_a_value_replaced_before_is_refused(calls, data):
    history = history_of(calls)
    old = data.draw(st.sampled_from(history[:-1]))
    assert not Search([*history, a_get(99, 100, old.argument)]).is_linearizable()
