"""What ``--expires`` takes, and which date a document gets from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.collection import DocumentInfo
from crag_core.errors import UsageError
from crag_owner.ingest.expiry import Expiry, parse_expiry

NOW = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp())
DAY = 86_400
KNOWN = DocumentInfo("id", "a.txt", {}, "", "", None, b"", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2027-01-31T18:00", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31T18:00+08:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
        ("2027-01-31T18:00:30Z", datetime(2027, 1, 31, 18, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_date_counts_through_its_last_second(text: str, expected: datetime) -> None:
    assert parse_expiry(text, NOW) == Expiry(moment=int(expected.timestamp()))


@pytest.mark.parametrize(
    ("text", "seconds"), [("12h", 43_200), ("90d", 90 * DAY), ("8w", 56 * DAY)]
)
def test_a_time_counts_from_taking_in(text: str, seconds: int) -> None:
    expiry = parse_expiry(text, NOW)
    assert expiry.of(None, NOW, changed=True) == NOW + seconds
    kept = replace(KNOWN, expires=NOW + 5)
    assert expiry.of(kept, NOW, changed=False) == NOW + 5
    assert expiry.of(kept, NOW, changed=True) == NOW + seconds
    assert expiry.of(replace(KNOWN, expires=NOW), NOW, changed=False) == NOW + seconds
    assert expiry.of(KNOWN, NOW, changed=False) == NOW + seconds


def test_nothing_asked_keeps_the_date_and_never_drops_it() -> None:
    kept = replace(KNOWN, expires=NOW + 5)
    for changed in (True, False):
        assert parse_expiry(None, NOW).of(kept, NOW, changed=changed) == NOW + 5
        assert parse_expiry("never", NOW).of(kept, NOW, changed=changed) is None
        assert (
            parse_expiry("2027-01-31", NOW).of(kept, NOW, changed=changed)
            == Expiry(moment=int(datetime(2027, 2, 1, tzinfo=UTC).timestamp())).moment
        )
    assert parse_expiry(None, NOW).of(None, NOW, changed=True) is None
    assert parse_expiry(None, NOW).of(replace(KNOWN, expires=NOW), NOW, changed=True) is None


@pytest.mark.parametrize(
    "text",
    ["", "0d", "-1d", "1.5d", "d", "9y", "tomorrow", "2027-13-01", "2026-11-20", "1970-01-01",
     "2026-11-21T12:00", "9999-12-31", "99999999d", "2027-01-31T25:00", "\udcff"],
)  # fmt: skip
def test_what_is_no_date_or_past_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--expires"):
        parse_expiry(text, NOW)


@given(st.text())
def test_any_text_is_a_later_date_or_refused(text: str) -> None:
    try:
        found = parse_expiry(text, NOW).of(None, NOW, changed=True)
    except UsageError:
        return
    assert found is None or found > NOW
