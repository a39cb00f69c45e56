from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import IntegrityViolated
from crag_core.sethash import SetHash

KEY = bytes(range(32))
elements = st.sets(st.binary(max_size=12), max_size=12)


def of(*items: bytes, key: bytes = KEY) -> SetHash:
    made = SetHash(key)
    made.add(items)
    return made


@given(items=elements, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_order_and_grouping_do_not_matter(items: set[bytes], seed: int) -> None:
    ordered = sorted(items)
    shuffled = list(ordered)
    random.Random(seed).shuffle(shuffled)
    one_by_one = SetHash(KEY)
    for item in shuffled:
        one_by_one.add([item])
    assert one_by_one == of(*ordered)
    assert one_by_one.digest() == of(*ordered).digest()


@given(one=elements, two=elements)
@settings(max_examples=80, deadline=None)
def test_equal_sets_and_only_they_have_equal_digests(one: set[bytes], two: set[bytes]) -> None:
    assert (of(*one).digest() == of(*two).digest()) == (one == two)


@given(kept=elements, removed=elements)
@settings(max_examples=60, deadline=None)
def test_removing_undoes_adding(kept: set[bytes], removed: set[bytes]) -> None:
    made = of(*kept)
    made.add(iter(sorted(removed)))
    made.remove(iter(sorted(removed)))
    assert made == of(*kept)


def test_the_empty_set_is_all_zeros() -> None:
    assert SetHash(KEY).state() == bytes(2048)


def test_batches_beyond_the_internal_size_are_the_same_sum() -> None:
    items = [b"%d" % i for i in range(1300)]
    halves = SetHash(KEY)
    halves.add(items[:7])
    halves.add(items[7:])
    assert halves == of(*items)


def test_a_state_is_taken_up_where_it_was_left() -> None:
    resumed = SetHash.from_state(KEY, of(b"one", b"two").state())
    resumed.remove([b"one"])
    assert resumed == of(b"two")


@pytest.mark.parametrize("size", [0, 2047, 2049])
def test_a_state_of_another_size_is_an_integrity_violation(size: int) -> None:
    with pytest.raises(IntegrityViolated):
        SetHash.from_state(KEY, bytes(size))


def test_a_copy_goes_its_own_way() -> None:
    first = of(b"one")
    second = first.copy()
    second.add([b"two"])
    assert first == of(b"one")
    assert second == of(b"one", b"two")


def test_another_key_gives_another_hash() -> None:
    assert of(b"one") != of(b"one", key=bytes(32))


def test_moving_a_byte_between_elements_changes_the_hash() -> None:
    assert of(b"ab", b"c") != of(b"a", b"bc")


def test_it_never_equals_something_else() -> None:
    assert of(b"one") != of(b"one").state()
