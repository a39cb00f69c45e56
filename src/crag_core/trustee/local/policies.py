"""The policies on disk: one for resources, and one for attestation per policy id."""

from __future__ import annotations

import hashlib
import re
from importlib import resources as packaged

from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.rego import PolicyError, evaluate

RESOURCE_FILE = "resource-policy.rego"
ATTESTATION_FOLDER = "attestation-policies"
DEFAULT_ID = "default"
MAX_IDS = 64
CLAIMS = (
    "instance_identity",
    "configuration",
    "executables",
    "file_system",
    "hardware",
    "runtime_opaque",
    "storage_opaque",
    "sourced_data",
)
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", re.ASCII)


class UnknownPolicy(ValueError):
    """A policy id that is not a name, or that no policy has."""


def _shipped(name: str) -> str:
    return (
        packaged.files("crag_core.trustee.local").joinpath("policy_files", name).read_text("utf-8")
    )


def digest(policy: str) -> str:
    """SHA-384 of a policy's text, in hex; what audit and listings name it by."""
    return hashlib.sha384(policy.encode()).hexdigest()


class Policies:
    """The policies of one Trustee. What is not on disk is as shipped: it allows nothing."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def resource_policy(self) -> str:
        """The resource policy; as shipped, no resource is released."""
        data = self._folder.read(RESOURCE_FILE)
        return _shipped(RESOURCE_FILE) if data is None else data.decode("utf-8")

    def set_resource_policy(self, policy: str) -> None:
        """Replace the resource policy.

        Raises:
            PolicyError: it cannot be evaluated, or ``allow`` is no boolean, or it allows a token
                that claims nothing.
        """
        found = evaluate(policy, ["allow"], {}, {"resource-path": "resource/a/b/c"})
        if found.get("allow", False) is not False:
            raise PolicyError("the policy releases resources to a workload that claims nothing")
        with self._folder.writing() as writer:
            writer.write(policy.encode(), RESOURCE_FILE)

    def attestation_policy(self, policy_id: str) -> str:
        """The attestation policy of an id.

        Raises:
            UnknownPolicy: there is none.
        """
        data = self._folder.read(ATTESTATION_FOLDER, f"{_checked(policy_id)}.rego")
        if data is not None:
            return data.decode("utf-8")
        if policy_id == DEFAULT_ID:
            return _shipped("attestation-policy.rego")
        raise UnknownPolicy("no attestation policy has this id")

    def set_attestation_policy(self, policy_id: str, policy: str) -> None:
        """Replace the attestation policy of an id.

        Raises:
            UnknownPolicy: the id is not a name, or there are too many.
            PolicyError: it cannot be evaluated.
        """
        name = f"{_checked(policy_id)}.rego"
        evaluate(policy, CLAIMS, {}, {"reference": {}})
        with self._folder.writing() as writer:
            if policy_id not in (known := self.attestation_ids()) and len(known) >= MAX_IDS:
                raise UnknownPolicy(f"there are {MAX_IDS} attestation policies already")
            writer.write(policy.encode(), ATTESTATION_FOLDER, name)

    def delete_attestation_policy(self, policy_id: str) -> None:
        """Delete the attestation policy of an id; ``default`` cannot be deleted.

        Raises:
            UnknownPolicy: there is none, or it is ``default``.
        """
        name = f"{_checked(policy_id)}.rego"
        if policy_id == DEFAULT_ID:
            raise UnknownPolicy("the policy 'default' cannot be deleted, only replaced")
        with self._folder.writing() as writer:
            if not writer.remove(ATTESTATION_FOLDER, name):
                raise UnknownPolicy("no attestation policy has this id")

    def attestation_ids(self) -> list[str]:
        """Every id that has a policy, sorted."""
        folder = self._folder.path(ATTESTATION_FOLDER)
        names = {path.stem for path in folder.glob("*.rego") if _ID.fullmatch(path.stem)}
        return sorted(names | {DEFAULT_ID})


def _checked(policy_id: str) -> str:
    if not _ID.fullmatch(policy_id):
        raise UnknownPolicy("a policy id has 1 to 64 letters, digits, '_', '-' and inner dots")
    return policy_id
