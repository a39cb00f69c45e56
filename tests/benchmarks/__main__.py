"""``make bench``: every benchmark as ratios measured side by side in one run.

``--json`` prints the object of the contract; ``--only NAME`` runs one of them. Times of one machine
mean nothing alone: what counts is a ratio to something measured in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

# One thread for matrix products, before numpy is imported anywhere: the idle threads of a pool spin
# between small products and would be counted as work. `crag-owner ingest` does the same.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# part of the contract's object -> module with run() -> dict
BENCHMARKS = {
    "cipher": "bench_cipher",
    "ingest": "bench_ingest",
    "pipeline": "bench_pipeline",
    "search": "bench_search",
    "startup": "bench_startup",
}


def _machine() -> dict[str, Any]:
    import numpy as np

    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _table(result: dict[str, Any], indent: str = "") -> None:
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _table(value, indent + "  ")
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{indent}{name:<34} {shown}")


def main() -> int:
    """Run the benchmarks asked for and print their figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=sorted(BENCHMARKS))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": _machine()}
    for name, module in BENCHMARKS.items():
        if arguments.only in (None, name):
            print(f"bench: {name}", file=sys.stderr)
            run: Callable[[], dict[str, Any]] = importlib.import_module(module).run
            result[name] = run()
    if arguments.json:
        print(json.dumps(result))
    else:
        _table(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
