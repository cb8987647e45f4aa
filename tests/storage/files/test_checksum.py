"""The checksum of an entry: any flipped bit shows."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.storage.files import checksum as module
from kvd.storage.files.checksum import head_checksum, is_whole, is_whole_head

NUMBERS = st.integers(0, 2**48)


def checksum(revision, kind, key, value, created, expires):
    return module.checksum(head_checksum(revision, kind, key, created, expires), value)


def test_a_checksum_is_what_it_was_in_the_first_release():
    assert checksum(2, 1, b"session", b"8f3a", 2, 1_700_000_060_001) == 4_175_612_083
    assert checksum(8, 2, b"city", None, 0, None) == checksum(8, 2, b"city", b"", 0, None)


def test_what_is_read_without_the_value_has_a_checksum_of_its_own():
    head = head_checksum(7, 1, b"key", 6, None)
    assert is_whole_head(head, 7, 1, b"key", 6, None)
    assert not is_whole_head(head, 7, 1, b"kez", 6, None)
    assert not is_whole_head(head, 7, 1, "key", 6, None)
    whole = module.checksum(head, b"value")
    assert is_whole(head, whole, 7, 1, b"key", b"value", 6, None)
    assert not is_whole(head + 1, whole, 7, 1, b"key", b"value", 6, None)


@given(NUMBERS, NUMBERS, st.none() | NUMBERS, st.binary(max_size=20), st.binary(max_size=20), st.data())
def test_a_flipped_bit_of_a_number_changes_it(revision, created, expires, key, value, data):
    numbers = [revision, created, expires or 0]
    place, bit = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 47))
    flipped = list(numbers)
    flipped[place] ^= 1 << bit
    assert checksum(numbers[0], 1, key, value, *numbers[1:]) != checksum(flipped[0], 1, key, value, *flipped[1:])


@given(st.binary(max_size=20), st.binary(max_size=20), st.data())
def test_a_flipped_bit_of_key_or_value_changes_it(key, value, data):
    whole = key + value
    if not whole:
        return
    place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    flipped = bytearray(whole)
    flipped[place] ^= 1 << bit
    assert checksum(7, 1, key, value, 7, None) != checksum(
        7, 1, bytes(flipped[: len(key)]), bytes(flipped[len(key) :]), 7, None
    )


@given(st.binary(min_size=1, max_size=20))
def test_a_byte_that_moves_from_the_key_to_the_value_changes_it(data):
    assert checksum(7, 1, data, b"", 7, None) != checksum(7, 1, data[:-1], data[-1:], 7, None)
