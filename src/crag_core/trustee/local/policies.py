"""The policies on disk: for resources (one for all, and others for parts), and for attestation."""

from __future__ import annotations

import hashlib
import re
from importlib import resources as packaged
from pathlib import PurePosixPath

from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.rego import PolicyError, evaluate
from crag_core.trustee.local.resources import IllegalName, ResourceName

RESOURCE_FILE = "resource-policy.rego"
SCOPED_FOLDER = "resource-policies"
ATTESTATION_FOLDER = "attestation-policies"
DEFAULT_ID = "default"
MAX_IDS = 64
MAX_SCOPES = 1024
UPSTREAM = "trust_claims"
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
_CLASSES = {"cpu": "attestation-policy.rego", "gpu": "gpu-attestation-policy.rego"}


class UnknownPolicy(ValueError):
    """A policy id or scope that is not a name, or that no policy has."""


def digest(policy: str) -> str:
    """SHA-384 of a policy's text, in hex; what audit and listings name it by."""
    return hashlib.sha384(policy.encode()).hexdigest()


class Policies:
    """The policies of one Trustee. What is not on disk is as shipped: it allows nothing.

    A resource is released by one policy alone: its own, else its type's (``repository/type``),
    else its repository's, else the general one. The repository is the namespace: its policy lets
    nothing of the general one through.
    """

    def __init__(self, folder: Folder, shipped: str = "policy_files") -> None:
        self._folder = folder
        self._files = packaged.files("crag_core.trustee.local").joinpath(shipped)

    def _shipped(self, name: str) -> str:
        return self._files.joinpath(name).read_text("utf-8")

    def resource_policy(self, scope: str = "") -> str:
        """The resource policy of a scope; "" is the general one, which as shipped allows nothing.

        Raises:
            UnknownPolicy: the scope has none of its own.
        """
        if scope:
            data = self._folder.read(*_scoped(scope))
            if data is None:
                raise UnknownPolicy("this part has no resource policy of its own")
            return data.decode("utf-8")
        data = self._folder.read(RESOURCE_FILE)
        return self._shipped(RESOURCE_FILE) if data is None else data.decode("utf-8")

    def deciding(self, name: ResourceName) -> tuple[str, str]:
        """The scope ("" for the general one) and the text of the policy that decides."""
        for scope in (str(name), f"{name.repository}/{name.kind}", name.repository):
            data = self._folder.read(*_scoped(scope))
            if data is not None:
                return scope, data.decode("utf-8")
        return "", self.resource_policy()

    def scopes(self) -> list[str]:
        """Every scope that has a resource policy of its own, sorted."""
        root = self._folder.path(SCOPED_FOLDER)
        paths = (path.relative_to(root) for path in root.rglob("*.rego"))
        return sorted(_scope_of(PurePosixPath(path)) for path in paths)

    @staticmethod
    def check_resource_policy(policy: str, scope: str = "") -> None:
        """Refuse a resource policy that cannot be set.

        Raises:
            UnknownPolicy: the scope is not one.
            PolicyError: it cannot be evaluated, or ``allow`` is no boolean, or it allows a token
                that claims nothing.
        """
        found = evaluate(policy, ["allow"], {}, {"resource-path": "resource/a/b/c"})
        if found.get("allow", False) is not False:
            raise PolicyError("the policy releases resources to a workload that claims nothing")
        if scope:
            _scoped(scope)

    def set_resource_policy(self, policy: str, scope: str = "") -> None:
        """Replace the resource policy of a scope.

        Raises:
            UnknownPolicy, PolicyError: as :meth:`check_resource_policy`, or there are too many.
        """
        self.check_resource_policy(policy, scope)
        path = _scoped(scope) if scope else (RESOURCE_FILE,)
        with self._folder.writing() as writer:
            if scope and scope not in (known := self.scopes()) and len(known) >= MAX_SCOPES:
                raise UnknownPolicy(f"there are {MAX_SCOPES} resource policies already")
            writer.write(policy.encode(), *path)

    def delete_resource_policy(self, scope: str) -> None:
        """Delete the resource policy of a scope; the general one cannot be deleted.

        Raises:
            UnknownPolicy: there is none.
        """
        with self._folder.writing() as writer:
            if not writer.remove(*_scoped(scope)):
                raise UnknownPolicy("this part has no resource policy of its own")

    def attestation_policy(self, policy_id: str, device: str = "cpu") -> str:
        """The attestation policy of an id for a class of devices.

        GPUs are judged by ``<id>_gpu``, else by the one that is shipped for them.

        Raises:
            UnknownPolicy: there is none.
        """
        name = policy_id if device == "cpu" else f"{policy_id}_{device}"
        data = self._folder.read(ATTESTATION_FOLDER, f"{_checked(name)}.rego")
        if data is not None:
            return data.decode("utf-8")
        if policy_id == DEFAULT_ID or device != "cpu":
            return self._shipped(_CLASSES[device])
        raise UnknownPolicy("no attestation policy has this id")

    @staticmethod
    def check_attestation_policy(policy_id: str, policy: str) -> None:
        """Refuse an attestation policy that cannot be set.

        Raises:
            UnknownPolicy: the id is not a name.
            PolicyError: it cannot be evaluated.
        """
        _checked(policy_id)
        evaluate(policy, (*CLAIMS, UPSTREAM), {}, {"reference": {}})

    def set_attestation_policy(self, policy_id: str, policy: str) -> None:
        """Replace the attestation policy of an id.

        Raises:
            UnknownPolicy, PolicyError: as :meth:`check_attestation_policy`, or there are too many.
        """
        self.check_attestation_policy(policy_id, policy)
        name = f"{policy_id}.rego"
        with self._folder.writing() as writer:
            if policy_id not in (known := self.attestation_ids()) and len(known) >= MAX_IDS:
                raise UnknownPolicy(f"there are {MAX_IDS} attestation policies already")
            writer.write(policy.encode(), ATTESTATION_FOLDER, name)

    def delete_attestation_policy(self, policy_id: str) -> None:
        """Delete the attestation policy of an id; ``default`` cannot be deleted.

        Raises:
            UnknownPolicy: there is none, or it is ``default``.
        """
        self.check_deletion(policy_id)
        with self._folder.writing() as writer:
            if not writer.remove(ATTESTATION_FOLDER, f"{policy_id}.rego"):
                raise UnknownPolicy("no attestation policy has this id")

    def check_deletion(self, policy_id: str) -> None:
        """Refuse an attestation policy that cannot be deleted; raises as the deletion."""
        if _checked(policy_id) == DEFAULT_ID:
            raise UnknownPolicy("the policy 'default' cannot be deleted, only replaced")
        if self._folder.read(ATTESTATION_FOLDER, f"{policy_id}.rego") is None:
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


def _scoped(scope: str) -> tuple[str, ...]:
    """The file of a scope of one, two or three segments.

    The name says how many there are, so that no scope's file is another one's folder.
    """
    parts = scope.split("/")
    try:
        ResourceName.parse("/".join([*parts, *["x"] * (3 - len(parts))]))
    except IllegalName:
        raise UnknownPolicy(
            "a scope is REPOSITORY, REPOSITORY/TYPE or REPOSITORY/TYPE/TAG"
        ) from None
    return (SCOPED_FOLDER, str(len(parts)), *parts[:-1], f"{parts[-1]}.rego")


def _scope_of(path: PurePosixPath) -> str:
    return "/".join([*path.parts[1:-1], path.name.removesuffix(".rego")])
