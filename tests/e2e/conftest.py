"""Three roles on one machine, set up by the demo's own code, once for all end-to-end tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.house import House


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """The house, stopped and removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="crag-e2e-"))
    # the embedded PostgreSQL runs as a user of its own, who must be able to pass through
    root.chmod(0o711)
    made = House(root)
    try:
        made.furnish()
        yield made
    finally:
        made.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def service(house: House) -> str:
    """The provider's service, up for all tests that only ask; its URL."""
    return str(house.serve()["url"])
