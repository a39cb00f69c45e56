"""Rows are found by their ids, by the compiled kernel and without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.collection import row_numbers
from crag_core.collection.row_numbers import UNKNOWN, RowNumbers
from crag_core.vectors import kernel

# Few different bytes, so that many ids have one place, and some the same first half.
IDS = st.lists(
    st.builds(
        lambda head, tail: (head * 8)[:8] + (tail * 8)[:8],
        st.binary(min_size=1, max_size=2),
        st.binary(min_size=1, max_size=2),
    )
    | st.binary(min_size=16, max_size=16),
    unique=True,
    max_size=60,
)


@pytest.fixture(params=["compiled", "numpy"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "numpy":
        monkeypatch.setattr(row_numbers, "native", lambda: None)
    elif kernel.native() is None:
        pytest.skip("crag-kernel is not installed")
    return


@pytest.mark.usefixtures("arithmetic")
def test_every_row_has_its_number_and_no_other() -> None:
    @settings(max_examples=150, deadline=None)
    @given(IDS, IDS, st.binary(max_size=15))
    def check(ids: list[bytes], others: list[bytes], rest: bytes) -> None:
        made = RowNumbers(ids)
        assert len(made) == len(ids)
        asked = [*others, *ids[::-1]]
        numbers = {identity: number for number, identity in enumerate(ids)}
        expected = [numbers.get(identity, UNKNOWN) for identity in asked]
        found = made.find(b"".join(asked) + rest).tolist()
        assert found == expected + [UNKNOWN] * bool(rest)

    check()


@pytest.mark.usefixtures("arithmetic")
def test_many_rows_of_one_place_are_all_found() -> None:
    ids = [bytes(8) + number.to_bytes(8, "big") for number in range(5000)]
    assert RowNumbers(ids).find(b"".join(ids)).tolist() == list(range(5000))
