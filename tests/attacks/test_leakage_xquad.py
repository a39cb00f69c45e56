"""The audit on XQuAD-zh against an earlier, independent study of the same attacks.

That study had one key a cell. Most of its figures are met within 0.05. Where the attacks here are
stronger than its own, its figure is a lower bound.
"""

from __future__ import annotations

import numpy as np
import pytest

from crag_owner.audit.findings import NONE, ROTATION, SHUFFLE, Finding, Report
from crag_owner.audit.plan import run
from crag_owner.audit.schemes import fresh
from crag_owner.audit.subject import Subject
from support import xquad

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), xquad.needed]

FACTORS = (0.25, 0.5, 1.0, 2.0, 2.5, 4.0)
TOLERANCE = 0.05

# attack, scheme, method, x -> figure by factor
Key = tuple[str, str, str, float | None]
STUDY: dict[Key, dict[float, float]] = {
    ("candidates", NONE, "nearest candidate", None): {
        0.25: 1.0, 0.5: 1.0, 1.0: 1.0, 2.0: 1.0, 2.5: 1.0, 4.0: 0.998,
    },
    ("candidates", SHUFFLE, "+ closest candidates", None): {0.5: 1.0, 1.0: 1.0, 2.0: 1.0},
    ("known pairs", ROTATION, "procrustes", 16.0): {
        0.5: 0.006, 1.0: 0.001, 2.0: 0.003, 2.5: 0.001, 4.0: 0.001,
    },
    ("known pairs", ROTATION, "procrustes", 32.0): {
        0.5: 0.094, 1.0: 0.040, 2.0: 0.019, 2.5: 0.007, 4.0: 0.004,
    },
    ("known pairs", ROTATION, "procrustes", 64.0): {2.0: 0.09, 2.5: 0.05, 4.0: 0.01},
    ("known pairs", ROTATION, "procrustes", 96.0): {1.0: 0.72, 2.0: 0.27, 2.5: 0.15, 4.0: 0.03},
    ("known pairs", ROTATION, "procrustes", 192.0): {
        0.5: 0.991, 1.0: 0.988, 2.0: 0.816, 2.5: 0.554, 4.0: 0.084,
    },
    ("known pairs", ROTATION, "procrustes", 384.0): {
        0.5: 0.993, 1.0: 0.995, 2.0: 0.988, 2.5: 0.935, 4.0: 0.309,
    },
    ("known pairs", ROTATION, "procrustes", 768.0): {
        0.5: 0.991, 1.0: 0.993, 2.0: 0.995, 2.5: 0.984, 4.0: 0.632,
    },
    ("known pairs", ROTATION, "procrustes", 1536.0): {
        0.5: 0.994, 1.0: 0.999, 2.0: 0.988, 2.5: 0.985, 4.0: 0.905,
    },
    ("known pairs", ROTATION, "anchors", 32.0): {0.5: 0.905, 1.0: 0.499, 2.5: 0.046},
    ("known pairs", ROTATION, "anchors", 64.0): {0.5: 0.941, 1.0: 0.669, 2.0: 0.206, 2.5: 0.083},
    ("known pairs", ROTATION, "pairs and candidates", 16.0): {0.5: 1.0, 1.0: 1.0, 2.0: 0.011},
    ("known pairs", ROTATION, "pairs and candidates", 32.0): {0.5: 1.0, 1.0: 1.0, 2.5: 0.025},
    ("known pairs", ROTATION, "pairs and candidates", 128.0): {1.0: 1.0, 2.0: 0.993},
    ("no pairs", ROTATION, "axes, signs, closest points", 1.0): {0.5: 1.0, 1.0: 1.0, 2.0: 1.0},
    ("no pairs", ROTATION, "axes, signs, closest points", 0.9): {0.5: 1.0, 1.0: 1.0},
    ("no pairs", ROTATION, "axes, signs, closest points", 0.75): {0.5: 1.0, 1.0: 1.0},
    ("no pairs", ROTATION, "axes, signs, closest points", 0.5): {0.5: 0.956, 1.0: 0.859},
    ("no pairs", ROTATION, "axes, signs, closest points", 0.0): {0.5: 0.0, 1.0: 0.001},
    ("distances", ROTATION, "correlation of squared distances", None): {
        0.25: 0.992, 0.5: 0.969, 1.0: 0.882, 2.0: 0.652, 2.5: 0.528, 4.0: 0.286,
    },
    ("same label", ROTATION, "article, 1 nearest", None): {
        0.25: 0.872, 0.5: 0.865, 1.0: 0.827, 2.0: 0.623, 2.5: 0.408, 4.0: 0.137,
    },
    ("same label", ROTATION, "article, 5 nearest", None): {
        0.25: 0.865, 0.5: 0.861, 1.0: 0.839, 2.0: 0.651, 2.5: 0.485, 4.0: 0.140,
    },
    ("duplicates", ROTATION, "area under the curve", None): {
        0.25: 1.0, 0.5: 1.0, 1.0: 1.0, 2.0: 0.999, 2.5: 0.956, 4.0: 0.243,
    },
    ("duplicates", ROTATION, "found at 1 % false alarms", None): {
        0.25: 1.0, 0.5: 1.0, 1.0: 1.0, 4.0: 0.007,
    },
}  # fmt: skip

# Here the curve is steep, and one key differs from the next: over five keys the means are 0.494 and
# 0.344, the standard deviations 0.02.
STEEP: dict[Key, dict[float, float]] = {
    ("known pairs", ROTATION, "procrustes", 64.0): {0.5: 0.53, 1.0: 0.29},
}
STEEP_TOLERANCE = 0.12

# The attacks here get more: the study's figures are what they must at least reach.
LOWER_BOUNDS: dict[Key, dict[float, float]] = {
    ("candidates", SHUFFLE, "+ covariance", None): {2.0: 0.684, 2.5: 0.099, 4.0: 0.005},
    ("candidates", SHUFFLE, "+ closest candidates", None): {2.5: 0.025, 4.0: 0.003},
    ("known pairs", ROTATION, "pairs and candidates", 8.0): {1.0: 0.036, 2.0: 0.003},
    ("known pairs", ROTATION, "pairs and candidates", 64.0): {2.0: 0.260, 2.5: 0.082},
    ("known pairs", ROTATION, "pairs and candidates", 128.0): {2.5: 0.616},
    ("known pairs", ROTATION, "ridge", 1536.0): {4.0: 0.21},
    # The best of the study's attacks with so many pairs.
    ("known pairs", ROTATION, "regression", 16.0): {0.5: 0.689, 1.0: 0.207, 2.0: 0.034},
    ("known pairs", ROTATION, "regression", 64.0): {0.5: 0.941, 1.0: 0.669, 2.0: 0.206, 2.5: 0.083},
    ("known pairs", ROTATION, "regression", 192.0): {
        1.0: 0.988,
        2.0: 0.816,
        2.5: 0.554,
        4.0: 0.084,
    },
}


@pytest.fixture(scope="module")
def report() -> Report:
    """One audit of everything, under the keys of one run."""
    found = xquad.vectors()
    assert (len(found.sentences), len(found.others)) == (1197, 1430)
    encrypt = fresh(384, 1.0)
    return run(
        Subject(
            name="xquad-zh",
            search_mode="database",
            factor=1.0,
            total_rows=1197,
            plain=found.sentences,
            stored=encrypt(found.sentences),
            encrypt=encrypt,
            labels={"article": found.articles},
            foreign=found.others,
        ),
        factors=FACTORS,
        shares=(1.0, 0.9, 0.75, 0.5, 0.0),
    )


def _measured(report: Report, key: Key, factor: float) -> Finding:
    attack, scheme, method, x = key
    found = report.select(attack, scheme=scheme, factor=factor, method=method)
    (only,) = [each for each in found if x is None or each.x == x]
    return only


@pytest.mark.parametrize(
    ("study", "tolerance"), [(STUDY, TOLERANCE), (STEEP, STEEP_TOLERANCE)], ids=["all", "steep"]
)
def test_the_study_is_met(
    report: Report, study: dict[Key, dict[float, float]], tolerance: float
) -> None:
    missed = {}
    for key, figures in study.items():
        for factor, expected in figures.items():
            value = _measured(report, key, factor).value
            if abs(value - expected) > tolerance:
                missed[key, factor] = (expected, round(value, 3))
    assert not missed


def test_where_the_attacks_are_stronger_they_get_at_least_as_much(report: Report) -> None:
    missed = {}
    for key, figures in LOWER_BOUNDS.items():
        for factor, expected in figures.items():
            value = _measured(report, key, factor).value
            if value < expected - TOLERANCE:
                missed[key, factor] = (expected, round(value, 3))
    assert not missed


def test_guessing_gets_nothing(report: Report) -> None:
    for factor in FACTORS:
        rotated = report.select("candidates", scheme=ROTATION, factor=factor)
        assert max(each.value for each in rotated) < 0.01
        few = report.select("known pairs", factor=factor, method="procrustes")
        assert min(each.value for each in few) < 0.01
    assert np.isfinite([each.value for each in report.findings]).all()
