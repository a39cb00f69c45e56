"""How many rows a search fetches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.collection.fetching import FETCH, checked_fetch, recorded, rows_for
from crag_core.errors import BadInput


@pytest.mark.parametrize(
    ("k", "fetch", "kept", "rows"),
    [
        (10, None, None, 200),
        (1, None, None, 100),
        (100, None, None, 1000),
        (10, None, 60, 60),
        (5, None, 60, 60),
        (1, None, 15, 15),
        (11, None, 15, 17),
        (20, None, 60, 120),
        (500, None, 60, 1000),
        (10, 33, 60, 33),
    ],
)
def test_as_many_rows_as_for_ten_hits_and_more_for_more(
    k: int, fetch: int | None, kept: int | None, rows: int
) -> None:
    assert rows_for(k, fetch, kept) == rows


@given(
    st.integers(1, 1000),
    st.none() | st.integers(1, 1000),
    st.none() | st.integers(10, 1000),
)
def test_never_fewer_than_hits_nor_more_than_a_thousand(
    k: int, fetch: int | None, kept: int | None
) -> None:
    if fetch is not None and fetch < k:
        with pytest.raises(BadInput):
            rows_for(k, fetch, kept)
    else:
        assert k <= rows_for(k, fetch, kept) <= 1000


@pytest.mark.parametrize("k", [0, -1, 1001])
def test_hits_out_of_range_are_refused(k: int) -> None:
    with pytest.raises(BadInput, match="hits"):
        rows_for(k, None, 50)


@pytest.mark.parametrize("fetch", [9, 0, -5, 1001])
def test_what_no_ten_hits_can_need_is_not_recorded(fetch: int) -> None:
    with pytest.raises(BadInput, match="rows cannot be fetched"):
        checked_fetch(fetch)


@pytest.mark.parametrize("value", [None, "50", 50.0, True, 9, 1001, [50]])
def test_what_no_owner_records_counts_for_nothing(value: object) -> None:
    assert recorded({FETCH: value}) is None
    assert recorded({}) is None


def test_what_an_owner_recorded_counts() -> None:
    assert recorded({FETCH: 50}) == 50
