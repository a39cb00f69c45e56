"""From recall to advice, and the warning that ingest gives."""

from __future__ import annotations

import numpy as np
import pytest

from crag_owner.calibrate import warning
from crag_owner.calibrate.advice import ENCLAVE_ROWS, advise, own_fetch, smallest_fetch
from crag_owner.calibrate.measure import FETCHES, Recall
from support.clouds import cloud


def _recall(factor: float, enough: int) -> Recall:
    at = {fetch: 0.995 if fetch >= enough else 0.9 for fetch in FETCHES}
    return Recall(factor, factor / 1.6, at)


def test_the_most_noise_that_costs_no_hit_is_recommended() -> None:
    measured = [_recall(0.5, 50), _recall(1.0, 200), _recall(1.5, 400), _recall(2.0, 5000)]
    found = advise(measured, 1200)
    assert (found.approximation_factor, found.fetch, found.recall) == (1.0, 200, 0.995)
    assert found.scaling_factor == 1.0


def test_where_no_factor_keeps_the_hits_the_least_noise_is_recommended_with_its_cost() -> None:
    found = advise([_recall(0.5, 5000), _recall(1.0, 5000)], 1200)
    assert (found.approximation_factor, found.fetch) == (0.5, 1000)
    assert any("only 0.900" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("rows", "mode"), [(1200, "enclave"), (ENCLAVE_ROWS, "enclave"), (ENCLAVE_ROWS + 1, "database")]
)
def test_the_mode_follows_what_fits_into_the_enclave(rows: int, mode: str) -> None:
    assert advise([_recall(1.0, 100)], rows).search_mode == mode


def test_the_collections_own_factor_decides_what_is_recorded() -> None:
    measured = [_recall(0.5, 20), _recall(1.0, 100), _recall(2.0, 5000)]
    assert own_fetch(measured, 1.0) == 100
    assert own_fetch(measured, 2.0) is None


def test_the_smallest_sufficient_fetch_is_named() -> None:
    assert smallest_fetch(_recall(1.0, 50)) == 50
    assert smallest_fetch(_recall(1.0, 5000)) is None


def test_a_choice_that_loses_hits_is_warned_about_and_a_good_one_is_not() -> None:
    vectors, _ = cloud(1500, 64)
    assert warning(vectors, 1.0, 0.0, 200) is None
    assert warning(vectors, 1.0, 0.1, 200) is None
    said = warning(vectors, 1.0, 4.0, 50)
    assert said is not None
    assert "factor 4" in said and "50 rows" in said and "recall@10" in said


def test_the_scaling_factor_changes_no_warning() -> None:
    vectors, _ = cloud(1500, 64)
    assert warning(vectors, 8.0, 4.0, 50) == warning(vectors, 1.0, 4.0, 50)


def test_what_is_fetched_as_a_whole_loses_nothing() -> None:
    vectors, _ = cloud(150, 64)
    assert warning(vectors, 1.0, 16.0, 200) is None
    assert warning(np.empty((0, 64), dtype=np.float32), 1.0, 1.0, 200) is None
