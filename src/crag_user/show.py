"""What people read: a report of a verification, an answer with its sources. Safe for a terminal."""

from __future__ import annotations

import datetime
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 88


def clean(text: object) -> str:
    """``text`` without control and formatting characters, which could forge what a terminal shows.

    Line breaks stay; everything else that is not printable becomes a space.
    """
    lines = str(text).replace("\r\n", "\n").split("\n")
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


def report_lines(url: str, report: Mapping[str, Any]) -> list[str]:
    """The report of ``crag-user verify`` for a person."""
    verdict = str(report["verdict"])
    marked = " (INSECURE: software evidence)" if report["insecure"] else ""
    lines = [f"{url}: {verdict}{marked}", f"  evidence  {clean(report['tee'])}"]
    for name, value in report["measurements"].items():
        lines.append(f"  measured  {clean(name)} {clean(value)}")
    if report["tcb"]:
        lines.append(f"  tcb       {_facts(report['tcb'])}")
    for number, gpu in enumerate(report["gpu"]):
        lines.append(f"  gpu {number}     {_facts(gpu)}")
    token = report["token"]
    if token.get("expires"):
        lines.append(
            f"  verdict   by {clean(token['issuer'])}, policy {clean(report['policy_id'])}, "
            f"valid until {_time(token['expires'])}"
        )
    return lines + check_lines(report["checks"])


def check_lines(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each check: whether it held, and what was found."""
    return [
        f"  {'ok' if check['ok'] else 'NO'}  {clean(check['name'])}: {clean(check['detail'])}"
        for check in checks
    ]


def answer_lines(
    answer: str, citations: Sequence[Mapping[str, Any]], mode: str = "model"
) -> list[str]:
    """The answer, then the numbered citations with their source and the quoted text."""
    lines = [clean(answer).strip(), ""]
    if mode == "quotes":
        lines.insert(
            0, "(The model's answer was not supported by the documents; these are quotes.)"
        )
    lines.append("Sources" if citations else "No sources.")
    for citation in citations:
        page = f", page {clean(citation['page'])}" if citation.get("page") is not None else ""
        lines.append(f"  [{clean(citation['n'])}] {clean(citation['source'])}{page}")
        quoted = " ".join(clean(citation["text"]).split())
        indent = "      "
        lines += textwrap.wrap(
            f"“{quoted}”", _WIDTH, initial_indent=indent, subsequent_indent=indent
        )
    return lines


def _facts(found: Mapping[str, Any]) -> str:
    """Names and values on one line; lists and objects as JSON."""
    parts = []
    for name, value in found.items():
        told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{clean(name)} {' '.join(clean(told).split())}")
    return ", ".join(parts)


def _time(seconds: object) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(float(str(seconds)), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return clean(seconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
