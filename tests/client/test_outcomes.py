"""The errors for a missing reply, and their sentences."""

import pytest

from kvd import wire
from kvd.client.outcomes import (
    Traits,
    connection_broke,
    decode,
    encode,
    not_sent,
    ok,
    reply_missing,
    traits_of,
)
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Error, Ok
from kvd.commands.changes import Changes
from kvd.commands.server import Backup, Check, Info, Ping
from kvd.commands.values import Get, Incr, Set
from kvd.errors import Conflict, NoReply, NotLetIn, OutcomeUnknown, TooLarge, Unreachable
from kvd.limits import COMMAND_BYTES_MAX

READ, WRITE = traits_of(Get), traits_of(Incr)


@pytest.mark.parametrize(
    ("command", "is_read", "is_safe", "may_be_overtaken"),
    [
        (Get, True, True, False),
        (Ping, True, True, False),
        (Info, True, True, False),
        (Changes, True, True, True),
        (Check, False, False, True),
        (Backup, False, False, True),
        (Set, False, False, False),
        (Incr, False, False, False),
        (Transaction, False, False, False),
        (Once, False, True, True),
    ],
)
def test_what_may_be_sent_again_reads_or_runs_once(command, is_read, is_safe, may_be_overtaken):
    assert traits_of(command) == Traits(command.command_name(), is_read, is_safe, may_be_overtaken)


def test_a_reply_is_returned_or_raised():
    assert ok(Ok(3, b"x")) == Ok(3, b"x")
    with pytest.raises(NoReply):
        ok(NoReply("GET: no reply in time"))
    with pytest.raises(Conflict) as caught:
        ok(Error("CONFLICT", "is there", {"revision": 7, "outcome": "failed"}))
    assert caught.value.details == {"revision": 7}


def test_a_body_is_a_reply_or_an_error():
    assert decode(READ, wire.encode(Ok(3, b"x"))) == Ok(3, b"x")
    assert decode(WRITE, wire.encode(Error("BUSY", "wait", {}))) == Error("BUSY", "wait", {})
    for body in (b"", b"\xc1", b"hello", wire.encode([1, 2, 3])):
        read, write = decode(READ, body), decode(WRITE, body)
        assert isinstance(read, NoReply)
        assert isinstance(write, OutcomeUnknown)
        assert str(read).startswith("GET: the reply is not one of kvd's: ")
        assert str(write).startswith("INCR: the reply is not one of kvd's, it may have been executed: ")


def test_what_is_too_large_is_never_sent():
    assert encode(Get(b"a")) == wire.encode(Get(b"a"))
    body = wire.encode(Set(b"a", b""))
    largest = COMMAND_BYTES_MAX - len(body) - 3  # the length of the value takes four bytes more than that of none
    assert len(encode(Set(b"a", bytes(largest)))) == COMMAND_BYTES_MAX
    with pytest.raises(TooLarge, match=rf"SET: the command has {COMMAND_BYTES_MAX + 1} bytes; at most"):
        encode(Set(b"a", bytes(largest + 1)))


def test_sentences_say_what_happened_and_where():
    where = " (tcp://h:1)"
    assert str(connection_broke(WRITE, where)) == (
        "INCR: the connection broke before the reply: it may have been executed (tcp://h:1)"
    )
    assert str(reply_missing(READ, where)) == "GET: no reply in time (tcp://h:1)"
    assert str(reply_missing(WRITE, where)) == (
        "INCR: no reply in time: it may have been executed, or may be yet (tcp://h:1)"
    )
    assert str(not_sent(READ, where=" at tcp://h:1")) == "GET: no daemon answers at tcp://h:1"
    assert str(not_sent(READ, where=" at tcp://h:1", is_silent=True)) == (
        "GET: the daemon hangs or is stopped: it takes connections and answers nothing at tcp://h:1"
    )
    assert str(not_sent(READ, "the daemon requires keys")) == "GET: the daemon requires keys"
    assert [type(each) for each in (connection_broke(WRITE), reply_missing(READ), reply_missing(WRITE))] == [
        OutcomeUnknown,
        NoReply,
        OutcomeUnknown,
    ]
    assert [type(each) for each in (not_sent(READ), not_sent(READ, "why"))] == [Unreachable, NotLetIn]
    assert reply_missing(READ, where).message == "GET: no reply in time"
