"""``trustee policy show|apply``: which measurement gets which resource."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crag_core.command import command, console, option
from crag_core.errors import BadInput, CragError, UsageError
from crag_core.trustee import release_policy
from crag_core.trustee.admin_options import AdminSettings, admin_options, click_path

if TYPE_CHECKING:
    from crag_core.trustee.admin import AdminClient

_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}")

Values = dict[str, list[str]]


@command("show")
@admin_options
def show(**settings: Any) -> None:
    """Show the resource policy, the attestation policy and the reference values in force."""
    with AdminSettings(**settings).client() as admin:
        policy = admin.get_resource_policy()
        attestation = admin.get_attestation_policy("default")
        values = admin.get_reference_values()
    resources = release_policy.read(policy)

    def human() -> None:
        console().line(_shown(policy.rstrip()))
        console().line("")
        console().line("reference values:")
        _print_values(values)

    console().result(
        {
            "resources": resources,
            "resource_policy": policy,
            "attestation_policy": attestation,
            "reference_values": values,
        },
        human,
    )


@command("apply")
@option(
    "--from",
    "folder",
    setting="trustee_policy_folder",
    type=click_path(),
    metavar="DIR",
    help="Put in force what 'trustee policy write' wrote there, on any Trustee.",
)
@option(
    "--measurement",
    metavar="FILE",
    help="What 'crag-provider attest --json' prints; - is stdin.",
)
@option(
    "--resource",
    "resources",
    multiple=True,
    metavar="URI",
    help="A resource to release to that measurement; may be repeated. A user's Trustee has none.",
)
@option("--replace", is_flag=True, help="Forget what was allowed before instead of adding to it.")
@option("--dry-run", is_flag=True, help="Show what would be applied and change nothing.")
@admin_options
def apply(
    folder: Path | None,
    measurement: str | None,
    resources: tuple[str, ...],
    replace: bool,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Release resources to workloads with exactly this measurement, and to no other.

    With --from, the policies of a folder are put in force as they are, and every earlier one is
    forgotten. Without it, only reference values and the resource policy of crag's own Trustee are
    set: without --replace the measurement is accepted beside those known already, so that an update
    can be rolled out; with it, every earlier one is refused from now on.
    """
    from crag_core.trustee.kbs import resource_path

    if folder is not None:
        if measurement or resources or replace:
            raise UsageError(
                "--from brings measurements and resources along.",
                hint="Leave out --measurement, --resource and --replace.",
            )
        _apply_folder(folder, AdminSettings(**settings), dry_run=dry_run)
        return
    if measurement is None:
        raise UsageError(
            "Nothing says what to apply.", hint="Give --from DIR or --measurement FILE."
        )
    names = [resource_path(name) for name in resources]
    values = _measurement(measurement)
    with AdminSettings(**settings).client() as admin:
        plan = _plan(admin, names, values, replace=replace)
        if not dry_run:
            _carry_out(admin, plan)
    if plan.older:
        console().warn(
            f"{sum(map(len, plan.older.values()))} older value(s) stay accepted "
            f"({', '.join(sorted(plan.older))}), so that an update can be rolled out. When it is, "
            "run the same command with --replace: it retires them."
        )
    facts = {
        "applied": not dry_run,
        "resources": plan.resources,
        "reference_values": plan.values,
        "older": plan.older,
        "retired": plan.retired,
        "resource_policy": plan.policy,
    }

    def human() -> None:
        for name in plan.resources:
            console().line(f"kbs:///{name}")
        console().line("is released to workloads that measure")
        _print_values(plan.values, plan.older)
        for name, values in sorted(plan.retired.items()):
            console().line(_shown(f"and no longer {name}: {', '.join(values)}"))
        console().line("Nothing was changed (--dry-run)." if dry_run else "Applied and read back.")

    console().result(facts, human)


def _apply_folder(folder: Path, settings: AdminSettings, *, dry_run: bool) -> None:
    from crag_core.trustee.pin_command import Written

    written = Written.load(folder)
    unseen: list[str] = []
    with settings.client() as admin:
        kind = admin.server.kind
        if not dry_run:
            unseen = written.carry_out(admin)

    def human() -> None:
        for name in sorted(written.policies):
            console().line(f"{name} of {folder}")
        console().line("Nothing was changed (--dry-run)." if dry_run else f"In force at a {kind}.")
        for what in unseen:
            console().line(f"not read back: {what}")

    facts = {
        "applied": not dry_run,
        "kind": kind,
        "pins": written.pins.as_json(),
        "policies": sorted(written.policies),
        "not_read_back": unseen,
    }
    console().result(facts, human)


@dataclass(frozen=True)
class _Plan:
    """What shall be in force.

    ``older``: those of ``values`` that the measurement does not have and that stay accepted.
    ``retired``: what was accepted until now.
    """

    resources: list[str]
    policy: str
    values: Values
    older: Values
    retired: Values


def _plan(admin: AdminClient, names: list[str], values: Values, *, replace: bool) -> _Plan:
    known = admin.get_reference_values()
    if replace:
        return _Plan(
            sorted(set(names)), release_policy.write(names), values, {}, _without(known, values)
        )
    policy = admin.get_resource_policy()
    before = [] if release_policy.denies_all(policy) else release_policy.read(policy)
    if before is None:
        raise CragError(
            "The resource policy in force was not written by this command, and cannot be added to.",
            hint="See it with 'trustee policy show'; replace it with --replace.",
            code="foreign-policy",
        )
    both = sorted({*before, *names})
    merged = {name: sorted({*known.get(name, []), *found}) for name, found in values.items()}
    return _Plan(both, release_policy.write(both), merged, _without(merged, values), {})


def _without(values: Values, others: Values) -> Values:
    """What is in ``values`` and not in ``others``; names that nothing is left of are gone."""
    left = {name: sorted(set(found) - set(others.get(name, []))) for name, found in values.items()}
    return {name: found for name, found in left.items() if found}


def _carry_out(admin: AdminClient, plan: _Plan) -> None:
    emptied = [name for name in plan.retired if name not in plan.values]
    admin.set_reference_values({**plan.values, **{name: [] for name in emptied}})
    admin.set_resource_policy(plan.policy)
    values = admin.get_reference_values()
    kept = all(sorted(values.get(name, [])) == sorted(v) for name, v in plan.values.items())
    gone = not any(values.get(name) for name in emptied)
    if not kept or not gone or admin.get_resource_policy() != plan.policy:
        raise CragError(
            "The Trustee does not have in force what it has just been told.",
            hint="Somebody else may administer it at the same time; look with 'trustee policy "
            "show', then run the same command again.",
            code="not-in-force",
        )


def _measurement(file: str) -> Values:
    """The reference values in what ``attest --json`` prints: name to SHA-2 digests in hex."""
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        found = json.loads(text)["reference_values"]
    except OSError as error:
        raise BadInput(
            f"The file {file} cannot be read: {error.strerror}.", hint="Check the path."
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(
            f"The file {file} has no member reference_values.",
            hint="Make it with 'crag-provider attest --json'.",
        ) from None
    if not isinstance(found, dict) or not found or not all(map(_digests, found.values())):
        raise BadInput(
            f"In {file}, reference_values does not map names to lists of digests in hex.",
            hint="Make it with 'crag-provider attest --json'.",
        )
    return {str(name): sorted(set(values)) for name, values in found.items()}


def _digests(values: object) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in values)
    )


def _shown(text: str) -> str:
    """A server's text, safe for a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def _print_values(values: Values, older: Values | None = None) -> None:
    for name, found in sorted(values.items()):
        for value in found:
            mark = "  (older)" if value in (older or {}).get(name, []) else ""
            console().line(f"  {_shown(name)}  {_shown(value)}{mark}")
