"""``trustee check``."""

from __future__ import annotations

from pathlib import Path

import click

from crag_core.command import command, console, option
from crag_core.errors import PolicyDenied
from crag_core.trustee.admin_options import click_path


@command("check")
@click.argument("url")
@option(
    "--trustee-ca",
    type=click_path(),
    metavar="FILE",
    help="Authorities to trust where the URL is https.",
)
@option(
    "--admin-key-path",
    "key_paths",
    setting="trustee_check_key_paths",
    type=click_path(),
    multiple=True,
    metavar="FILE",
    help="Look at this file's permissions, where the Trustee runs on this machine.",
)
def check(url: str, trustee_ca: Path | None, key_paths: tuple[Path, ...]) -> None:
    """Find the holes of the Trustee at URL, from outside and without harm.

    Nothing that is there is read or changed: resources are asked for by names that nobody has, and
    what is written is malformed on purpose. Exit 11 if an attacker could have keys or verdicts.
    """
    from crag_core.trustee.check.scan import scan

    report = scan(url, ca=trustee_ca, key_files=tuple(key_paths) or None)

    def human() -> None:
        show = console().line
        show(f"{url}: {report.server.title}")
        for finding in report.findings:
            show("")
            show(f"{finding.severity.upper()}  {finding.title}  [{finding.id}]")
            show(f"  seen    {finding.seen}")
            show(f"  gains   {finding.gains}")
            show(f"  close   {finding.close}")
        for line in report.unchecked:
            show(f"not checked: {line}")
        show("")
        show(f"{len(report.findings)} findings" if report.findings else "nothing found")

    console().result(report.as_json(), human)
    if report.critical:
        click.get_current_context().exit(PolicyDenied.exit_code)
