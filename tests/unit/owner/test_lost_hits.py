"""Ingest says so when the chosen factors would cost hits on the vectors just taken in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from crag_core.console import Console
from crag_owner.ingest.pipeline import Pipeline
from crag_owner.ingest.running import _warn_of_lost_hits


def _pipeline(factor: float, mode: str, rows: int = 600) -> Pipeline:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((rows, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    profile = SimpleNamespace(search_mode=mode, scaling_factor=1.0, approximation_factor=factor)
    collection = SimpleNamespace(profile=profile, private={})
    made = SimpleNamespace(
        target=SimpleNamespace(collection=collection), sample=list(vectors), console=Console()
    )
    return cast(Pipeline, made)


@pytest.mark.parametrize(
    ("factor", "mode", "warned"),
    [(8.0, "database", True), (0.25, "database", False), (8.0, "enclave", False)],
)
def test_only_a_choice_that_loses_hits_is_warned_about(
    factor: float, mode: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _warn_of_lost_hits(_pipeline(factor, mode))
    said = capsys.readouterr().err
    assert ("recall@10" in said) is warned


def test_a_handful_of_rows_is_always_fetched_whole(capsys: pytest.CaptureFixture[str]) -> None:
    _warn_of_lost_hits(_pipeline(8.0, "database", rows=150))
    assert capsys.readouterr().err == ""
