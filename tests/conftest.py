"""What every test gets: a state folder of its own and no settings from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell that runs the suite in the background ignores Ctrl-C for it, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def crag_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh ``CRAG_HOME``, and none of the caller's ``CRAG_*`` variables."""
    for name in list(os.environ):
        if name.startswith("CRAG_") and not name.startswith("CRAG_TEST_"):
            monkeypatch.delenv(name)
    home = tmp_path / "crag-home"
    monkeypatch.setenv("CRAG_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    return home
