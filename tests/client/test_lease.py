"""The next step of a lock, without a daemon and without a clock."""

import pytest

from kvd.client.lease import PAUSE_S, Claim, Lease
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Ok
from kvd.commands.changes import Changes
from kvd.commands.expiry import Expire
from kvd.commands.keys import EntryOf
from kvd.commands.values import Clear, Set
from kvd.errors import (
    BadArgument,
    Busy,
    Compacted,
    Conflict,
    Denied,
    Internal,
    KvdError,
    NoReply,
    OutcomeUnknown,
    ShuttingDown,
)
from kvd.limits import WAIT_MS_MAX

TOKEN = b"t" * 16
ACQUIRE = Once(TOKEN, Set(b"lock", b"me", 9_000, nx=True))
LOOK = EntryOf(b"lock", value=True)


def claim_that_waits():
    claim = Claim(b"lock", b"me", 9_000)
    claim.command(TOKEN, 100.0, None)
    claim.on_error(Conflict("held"))
    assert claim.command(TOKEN, 100.0, None) == LOOK
    claim.on_answer(Ok(50, {"value": b"other", "revision": 7, "created": 7}), 100.0)
    return claim


def hold_lease():
    claim = Claim(b"lock", b"me", 9_000)
    claim.command(TOKEN, 100.0, None)
    claim.on_answer(Ok(7, None), 101.0)
    return Lease(claim)


def test_a_free_lock_is_acquired_by_one_write_and_lasts_from_before_it_was_sent():
    claim = Claim(b"lock", b"me", 9_000)
    assert claim.command(TOKEN, 100.0, None) == ACQUIRE
    claim.on_answer(Ok(7, None), 108.0)
    assert (claim.fencing, claim.until) == (7, 109.0)


def test_a_claim_waits_from_the_newest_revision_until_the_entry_ends():
    claim = claim_that_waits()
    assert claim.command(TOKEN, 101.0, None) == Changes(50, b"lock", None, WAIT_MS_MAX)
    assert claim.command(TOKEN, 101.0, 2.5) == Changes(50, b"lock", None, 2_500)
    assert claim.command(TOKEN, 101.0, 0.0) == Changes(50, b"lock", None, 1)
    renewed = ["SET", 60, b"lock", b"other", 7, 1, 1]
    neighbour = ["CLEAR", 61, b"lock:2", None, 7, None, 1]
    claim.on_answer(Ok(61, [renewed, neighbour]), 102.0)
    assert claim.is_waiting
    assert claim.command(TOKEN, 102.0, None) == Changes(61, b"lock", None, WAIT_MS_MAX)
    claim.on_answer(Ok(62, [["EXPIRED", 62, b"lock", None, 60, None, 1]]), 103.0)
    assert claim.command(TOKEN, 103.0, None) == ACQUIRE


@pytest.mark.parametrize("error", [Compacted("gone"), BadArgument("restored")])
def test_a_claim_that_cannot_wait_from_there_tries_again(error):
    claim = claim_that_waits()
    assert claim.on_error(error) == 0.0
    assert claim.command(TOKEN, 101.0, None) == ACQUIRE


@pytest.mark.parametrize("error", [Conflict("held"), OutcomeUnknown("broke"), Internal("commit")])
def test_after_a_write_of_unknown_outcome_a_claim_looks_and_finds_its_own(error):
    claim = Claim(b"lock", b"me", 9_000)
    claim.command(TOKEN, 100.0, None)
    assert claim.on_error(error) == 0.0
    assert not claim.is_waiting
    assert claim.command(TOKEN, 101.0, None) == LOOK
    claim.on_answer(Ok(50, {"value": b"me", "revision": 8, "created": 7}), 101.0)
    # When it was set is not known, so it is renewed before it counts.
    assert claim.command(TOKEN, 102.0, None) == Once(TOKEN, Transaction([(b"lock", 8)], [Expire(b"lock", 9_000)]))
    claim.on_answer(Ok(51, [1]), 103.0)
    assert (claim.fencing, claim.until) == (7, 111.0)


def test_a_claim_that_finds_nothing_tries_again():
    claim = Claim(b"lock", b"me", 9_000)
    claim.command(TOKEN, 100.0, None)
    claim.on_error(OutcomeUnknown("broke"))
    claim.on_answer(Ok(50, None), 101.0)
    assert claim.command(TOKEN, 102.0, None) == ACQUIRE


def test_an_answer_that_comes_after_the_time_to_live_acquires_nothing():
    claim = Claim(b"lock", b"me", 9_000)
    claim.command(TOKEN, 100.0, None)
    claim.on_answer(Ok(7, None), 109.0)
    assert claim.fencing == 0
    assert claim.command(TOKEN, 109.0, None) == LOOK


@pytest.mark.parametrize("error", [Busy("full"), ShuttingDown("ending")])
def test_a_claim_pauses_where_the_daemon_says_try_again(error):
    for claim in (Claim(b"lock", b"me", 9_000), claim_that_waits()):
        was_waiting = claim.is_waiting
        assert claim.on_error(error) == PAUSE_S
        assert claim.is_waiting is was_waiting


@pytest.mark.parametrize("error", [Denied("no"), NoReply("late")])
def test_a_claim_raises_what_it_cannot_mend(error):
    for claim in (Claim(b"lock", b"me", 9_000), claim_that_waits()):
        with pytest.raises(type(error)):
            claim.on_error(error)


def test_a_renewal_holds_from_before_it_was_sent_and_the_fencing_number_stays():
    lease = hold_lease()
    assert lease.renewal(TOKEN) == Once(TOKEN, Transaction([(b"lock", 7)], [Expire(b"lock", 9_000)]))
    assert lease.on_answer(Ok(8, [1]), 103.0)
    assert (lease.until, lease.fencing) == (112.0, 7)
    assert lease.release(TOKEN) == Once(TOKEN, Transaction([(b"lock", 8)], [Clear([b"lock"])]))
    assert lease.problem(111.9) is None


def test_a_lease_that_was_not_renewed_in_time_is_lost_for_good():
    lease = hold_lease()
    assert lease.problem(108.9) is None
    assert "not renewed in time" in str(lease.problem(109.0))
    lease.on_answer(Ok(8, [1]), 108.0)
    assert lease.problem(109.0) is lease.lost is not None
    lease._lose("another reason")
    assert "not renewed in time" in str(lease.lost)


def test_a_released_lease_is_not_lost_by_time():
    lease = hold_lease()
    lease.is_released = True
    assert lease.problem(200.0) is None


def test_after_a_conflict_a_lease_looks_at_once_and_after_another_error_later():
    assert hold_lease().on_error(Conflict("changed")) is True
    assert hold_lease().on_error(KvdError("closed")) is False


@pytest.mark.parametrize("command", [Lease.renewal, Lease.release])
def test_a_look_tells_whether_the_lock_is_ours(command):
    lease = hold_lease()
    lease.on_error(OutcomeUnknown("broke"))
    assert command(lease, TOKEN) == LOOK
    assert lease.on_answer(Ok(50, {"value": b"me", "revision": 8}), 102.0) is False
    assert lease.until == 109.0
    assert command(lease, TOKEN).write.conditions == [(b"lock", 8)]
    lease.on_error(Conflict("changed"))
    assert lease.on_answer(Ok(51, {"value": b"other", "revision": 9}), 103.0) is True
    assert "somebody else" in str(lease.lost)
    lease = hold_lease()
    lease.on_error(Conflict("changed"))
    assert lease.on_answer(Ok(51, None), 103.0) is True
    assert "expired" in str(lease.lost)
