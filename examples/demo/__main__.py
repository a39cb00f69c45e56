"""All three roles of crag on one machine, with real parts: ``make demo``.

Options: ``--json`` (one object on stdout), ``--keep`` (leave the services up), ``--stop`` (end
services that an earlier ``--keep`` left up).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import kept
from narrator import Narrator
from parties import DemoFailed
from play import Play


def _interrupted(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--keep", action="store_true", help="leave the services up")
    parser.add_argument("--stop", action="store_true", help="end services left up by --keep")
    parser.add_argument("--question", default=None, help="ask something else")
    return parser.parse_args()


def main() -> int:
    """Play the demo; exit 0 when the question was answered and everything is tidied up."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupted)
    narrator = Narrator(sys.stderr if arguments.json else sys.stdout)
    if arguments.stop:
        stopped = kept.stop()
        narrator.say("The demo's services are stopped." if stopped else "No demo is running.")
        if arguments.json:
            print(json.dumps({"stopped": stopped}))
        return 0
    kept.stop()
    root = Path(tempfile.mkdtemp(prefix="crag-demo-"))
    # The embedded PostgreSQL runs as a user of its own, who must be able to pass through.
    root.chmod(0o711)
    play = Play(root, narrator, keep=arguments.keep)
    failed = ""
    answer: dict[str, Any] = {}
    try:
        answer = play.run(arguments.question)
    except DemoFailed as error:
        failed = str(error)
    except KeyboardInterrupt:
        failed = "Interrupted."
    if arguments.keep and not failed:
        kept.remember(root, play.servers)
    else:
        with contextlib.suppress(KeyboardInterrupt):
            play.stop()
    if failed:
        narrator.say(f"\nThe demo failed: {failed}")
        if arguments.json:
            print(json.dumps({"error": {"code": "demo-failed", "exit": 1, "message": failed,
                                        "hint": "", "details": {}}}))  # fmt: skip
        return 1
    narrator.closing(answer, kept=arguments.keep)
    if arguments.json:
        print(json.dumps(answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
