"""What the fuzz targets share: seeds, and what counts as a finding."""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from crag_core.errors import CragError

Target = Callable[[bytes], None]


def only_typed(target: Target) -> Target:
    """``target`` with refusals taken for what they are; anything else it raises is a finding."""

    def run(data: bytes) -> None:
        with contextlib.suppress(CragError):
            target(data)

    return run


def main(target: Target, seeds: Sequence[bytes]) -> None:
    """Fuzz ``target`` from ``seeds``; arguments are libFuzzer's. Does not return."""
    atheris = importlib.import_module("atheris")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        atheris.instrument_all()
        found = f"-artifact_prefix={tempfile.gettempdir()}/"
        arguments = [sys.argv[0], "-max_len=65536", found, *sys.argv[1:], corpus]
        atheris.Setup(arguments, only_typed(target))
        atheris.Fuzz()
