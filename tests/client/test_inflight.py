"""Which commands are under way, and what becomes of them."""

import pytest

from kvd import wire
from kvd.client.inflight import InFlight
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Error, Ok
from kvd.commands.server import Ping
from kvd.commands.values import Get, Incr, Set
from kvd.errors import ClientError, TooLarge

READ, ASK, WRITE = Get(b"a"), Ping(), Set(b"a", b"1")
ONCE = Once(b"12345678", Incr(b"a"))
TRANSACTION = Transaction([], [Get(b"a")])
OK = Ok(1, None)


def make_flight(*commands, sent=True):
    """Return commands in flight: unsent until 5, over at 10."""
    flight = InFlight()
    for number, command in enumerate(commands):
        flight.add(command, number, unsent_until=5, until=10)
        if sent:
            send_all(flight)
    return flight


def send_all(flight):
    batch = flight.next_batch(2**20)
    for pending in batch:
        pending.end = 100
    return [pending.traits.name for pending in batch]


def take_outcomes(flight):
    """Return what is over as tag and outcome; an error as its class, outcome and sentence."""
    return [
        (tag, (type(end).__name__, end.outcome, str(end)) if isinstance(end, ClientError) else end)
        for tag, end in flight.take()
    ]


def correlation(number):
    return number.to_bytes(8, "big")


def test_a_command_is_encoded_and_numbered_when_it_is_added():
    pending = InFlight().add(WRITE, "tag", unsent_until=5, until=10)
    assert (pending.traits.name, pending.body, pending.tag, pending.correlation) == (
        "SET",
        wire.encode(WRITE),
        "tag",
        correlation(1),
    )


def test_replies_are_taken_in_the_order_of_their_commands():
    flight = make_flight(READ, WRITE, ASK)
    flight.on_reply(correlation(3), wire.encode(OK))
    flight.on_reply(correlation(2), wire.encode(Error("BUSY", "wait", {})))
    assert (take_outcomes(flight), len(flight)) == ([], 3)
    flight.on_reply(correlation(1), wire.encode(OK))
    assert (take_outcomes(flight), len(flight)) == ([(0, OK), (1, Error("BUSY", "wait", {})), (2, OK)], 0)


def test_a_reply_that_nobody_waits_for_is_dropped():
    flight = make_flight(READ)
    flight.on_reply(correlation(9), wire.encode(OK))
    flight.on_reply(correlation(1), wire.encode(OK))
    flight.on_reply(correlation(1), wire.encode(Ok(2, None)))
    assert take_outcomes(flight) == [(0, OK)]


UNREACHABLE = ("Unreachable", "not executed", "{}: no daemon answers")
NO_REPLY = ("NoReply", "failed", "{}: no reply in time")
UNKNOWN = ("OutcomeUnknown", "unknown", "{}: no reply in time: it may have been executed, or may be yet")
BROKEN = ("OutcomeUnknown", "unknown", "{}: the connection broke before the reply: it may have been executed")
ALL = [READ, ASK, WRITE, TRANSACTION, ONCE]


def failures_of(end, command):
    return [(0, (*end[:2], end[2].format(command.command_name())))]


@pytest.mark.parametrize("command", ALL)
def test_a_command_that_was_never_sent_ends_when_no_connection_came_in_time(command):
    flight = make_flight(command, sent=False)
    assert flight.next_deadline() == 5
    flight.expire(4.9)
    assert take_outcomes(flight) == []
    flight.expire(5)
    assert take_outcomes(flight) == failures_of(UNREACHABLE, command)
    assert flight.next_batch(2**20) == []
    assert flight.next_deadline() is None


NOT_LET_IN = ("NotLetIn", "not executed", "{}: wants keys")


def test_a_connection_that_is_refused_ends_at_once_those_that_wait_for_one():
    flight = make_flight(READ, WRITE)
    flight.on_disconnect()  # the read waits again, the write is over
    flight.add(WRITE, 2, unsent_until=5, until=10)
    flight.add(READ, 3, unsent_until=5, until=10)
    flight.on_reply(correlation(4), wire.encode(OK))
    flight.diagnosis.on_rejected("wants keys")
    flight.give_up_unsent()
    write = BROKEN[2].format(WRITE.command_name())
    [first, second, third, last] = take_outcomes(flight)
    assert first == failures_of(NO_REPLY, READ)[0]
    assert second == (1, (*BROKEN[:2], write))
    assert third == (2, failures_of(NOT_LET_IN, WRITE)[0][1])
    assert last == (3, OK)
    assert flight.next_batch(2**20) == []


def test_a_problem_that_may_pass_is_told_when_the_time_is_over():
    flight = make_flight(READ, sent=False)
    flight.diagnosis.on_rejected("wants keys")
    assert take_outcomes(flight) == []
    flight.expire(5)
    assert take_outcomes(flight) == failures_of(NOT_LET_IN, READ)


@pytest.mark.parametrize(
    ("command", "end"), [(READ, NO_REPLY), (ASK, NO_REPLY), (WRITE, UNKNOWN), (TRANSACTION, UNKNOWN), (ONCE, UNKNOWN)]
)
def test_only_a_read_that_got_no_reply_surely_changed_nothing(command, end):
    flight = make_flight(command)
    flight.expire(9.9)
    assert flight.next_deadline() == 10
    assert take_outcomes(flight) == []
    flight.expire(10)
    assert take_outcomes(flight) == failures_of(end, command)
    flight.on_reply(correlation(1), wire.encode(OK))
    assert take_outcomes(flight) == []


@pytest.mark.parametrize("command", [WRITE, TRANSACTION])
def test_a_write_whose_connection_broke_is_not_sent_again(command):
    flight = make_flight(command)
    flight.on_disconnect()
    assert send_all(flight) == []
    assert take_outcomes(flight) == failures_of(BROKEN, command)


@pytest.mark.parametrize("command", [READ, ASK, ONCE])
def test_what_is_safe_is_sent_again_after_a_break_and_answered(command):
    flight = make_flight(command)
    flight.on_disconnect()
    flight.on_disconnect()
    assert send_all(flight) == [command.command_name()]
    flight.on_reply(correlation(1), wire.encode(OK))
    assert take_outcomes(flight) == [(0, OK)]


@pytest.mark.parametrize(("command", "end"), [(READ, NO_REPLY), (ONCE, UNKNOWN)])
def test_what_was_sent_once_and_never_again_may_have_run(command, end):
    flight = make_flight(command)
    flight.on_disconnect()
    flight.expire(5)
    assert take_outcomes(flight) == []
    flight.expire(10)
    assert take_outcomes(flight) == failures_of(end, command)
    assert send_all(flight) == []


def test_what_is_sent_again_keeps_its_order_before_what_waits():
    flight = make_flight(READ, ONCE, ASK)
    flight.on_reply(correlation(2), wire.encode(OK))
    flight.add(WRITE, 3, unsent_until=5, until=10)
    flight.on_disconnect()
    assert send_all(flight) == ["GET", "PING", "SET"]


def test_a_deadline_is_that_of_the_first_one_due():
    flight = make_flight(READ)
    flight.add(READ, 1, unsent_until=3, until=20)
    flight.add(READ, 2, unsent_until=9, until=2)
    assert flight.next_deadline() == 2
    flight.expire(2)
    assert flight.next_deadline() == 3
    flight.expire(3)
    flight.on_reply(correlation(1), wire.encode(OK))
    assert [tag for tag, _ in take_outcomes(flight)] == [0, 1, 2]


def test_a_deadline_told_is_never_after_the_real_one():
    flight = make_flight(READ)
    assert flight.next_deadline() == 5  # as if unsent: to look too early costs little, to look at all each time much
    flight.expire(5)
    assert flight.next_deadline() == 10


def test_without_an_order_outcomes_are_taken_as_they_come():
    flight = InFlight(is_ordered=False)
    for number in range(4):
        flight.add(READ, number, unsent_until=5, until=10)
    send_all(flight)
    flight.on_reply(correlation(3), wire.encode(OK))
    flight.on_reply(correlation(1), wire.encode(OK))
    assert take_outcomes(flight) == [(2, OK), (0, OK)]
    assert len(flight) == 2
    flight.expire(10)
    assert [tag for tag, _ in take_outcomes(flight)] == [1, 3]
    assert (len(flight), flight.next_deadline()) == (0, None)


def test_a_write_whose_last_byte_had_not_left_is_sent_again():
    flight = make_flight(WRITE, TRANSACTION, sent=False)
    for end, pending in enumerate(flight.next_batch(2**20), 100):
        pending.end = end
    flight.on_disconnect(100)
    assert send_all(flight) == ["TRANSACTION"]
    assert take_outcomes(flight) == failures_of(BROKEN, WRITE)


def test_a_batch_ends_at_its_size_and_leaves_out_what_is_over():
    flight = make_flight(READ, WRITE, READ, sent=False)
    flight.finish(flight.waiting[1], OK)
    assert [pending.tag for pending in flight.next_batch(1)] == [0]
    assert [pending.tag for pending in flight.next_batch(1)] == [2]
    assert flight.next_batch(1) == []


def test_sentences_name_the_endpoint_and_what_was_tried():
    flight = make_flight(READ, WRITE)
    flight.diagnosis.on_dial("tcp://h:1")
    flight.add(READ, 2, unsent_until=5, until=10)
    flight.add(READ, 3, unsent_until=5, until=10)
    flight.diagnosis.on_failure("tcp://h:1", [("tcp://h:1", "Connection refused")])
    flight.expire(10)
    assert [end[2] for _, end in take_outcomes(flight)] == [
        "GET: no reply in time (tcp://h:1)",
        "SET: no reply in time: it may have been executed, or may be yet (tcp://h:1)",
        "GET: no daemon answers at tcp://h:1 (Connection refused)",
        "GET: no daemon answers at tcp://h:1 (Connection refused)",
    ]


def test_what_cannot_be_encoded_is_not_counted():
    flight = InFlight()
    for wrong in (Set(b"a", b"x" * 2**26), Incr(b"a", 2**64)):
        with pytest.raises((TooLarge, OverflowError)):
            flight.add(wrong, None, unsent_until=5, until=10)
    assert (len(flight), flight.next_deadline()) == (0, None)


def test_after_an_interrupt_what_was_handed_over_may_have_run_and_the_rest_waits_again():
    flight = make_flight(WRITE, READ, WRITE)
    flight.add(WRITE, "later", unsent_until=5, until=10)
    [pending] = flight.next_batch(2**20)
    assert flight.waiting == type(flight.waiting)()
    flight.on_interrupt(100)
    broken = (*BROKEN[:2], BROKEN[2].format("SET"))
    assert take_outcomes(flight) == [(0, broken)]
    assert list(flight.waiting) == [flight.by_correlation[correlation(2)], pending]
    flight.on_reply(correlation(2), wire.encode(OK))
    assert take_outcomes(flight) == [(1, OK), (2, broken)]


@pytest.mark.parametrize("is_ordered", [True, False])
def test_after_an_interrupt_between_an_outcome_and_its_end_the_outcome_stands(is_ordered):
    flight = InFlight(is_ordered=is_ordered)
    flight.add(WRITE, "tag", unsent_until=5, until=10).outcome = OK
    flight.on_interrupt(0)
    assert (take_outcomes(flight), len(flight), list(flight.waiting)) == ([("tag", OK)], 0, [])


def test_what_is_abandoned_is_never_sent_and_its_reply_is_dropped():
    flight = make_flight(WRITE, WRITE, sent=False)
    flight.abandon(0)
    assert send_all(flight) == ["SET"]
    flight.abandon(1)
    flight.abandon(1)
    flight.on_reply(correlation(2), wire.encode(OK))
    assert [(tag, end[0]) for tag, end in take_outcomes(flight)] == [(0, "Unreachable"), (1, "OutcomeUnknown")]


def test_what_is_cleared_is_forgotten():
    flight = make_flight(WRITE, READ)
    flight.clear()
    flight.on_reply(correlation(1), wire.encode(OK))
    assert (take_outcomes(flight), len(flight), flight.next_batch(100)) == ([], 0, [])
