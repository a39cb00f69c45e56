"""Resources on disk: ``resources/<repository>/<type>/<tag>``, mode 0600, whole or not at all."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from crag_core.trustee.local.folder import Folder

ROOT = "resources"
MAX_SEGMENT = 128
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", re.ASCII)


class IllegalName(ValueError):
    """A resource's name that has not exactly three plain segments."""


@dataclass(frozen=True, order=True)
class ResourceName:
    """``repository/type/tag``; segments of letters, digits, ``_``, ``-`` and inner dots."""

    repository: str
    kind: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ResourceName:
        """The name in ``repository/type/tag``.

        Raises:
            IllegalName: not three segments, or one of them could leave the folder.
        """
        parts = text.split("/")
        if len(parts) != 3 or not all(
            len(part) <= MAX_SEGMENT and _SEGMENT.fullmatch(part) for part in parts
        ):
            raise IllegalName(
                "a resource's name is repository/type/tag, of letters, digits, '_', '-' and '.', "
                f"no segment starting with a dot or longer than {MAX_SEGMENT}"
            )
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.repository}/{self.kind}/{self.tag}"

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The file's path below the Trustee's folder."""
        return ROOT, self.repository, self.kind, self.tag


class Resources:
    """The resources of one Trustee."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def get(self, name: ResourceName) -> bytes | None:
        """The bytes of a resource, or None where there is none."""
        return self._folder.read(*name.parts)

    def set(self, name: ResourceName, data: bytes) -> None:
        """Set a resource's bytes; a crash leaves the old or the new ones, never a part."""
        with self._folder.writing() as writer:
            writer.write(data, *name.parts)

    def delete(self, name: ResourceName) -> bool:
        """Delete a resource; False where there was none."""
        with self._folder.writing() as writer:
            return writer.remove(*name.parts)

    def names(self) -> list[ResourceName]:
        """Every resource, sorted."""
        found = []
        root = self._folder.path(ROOT)
        for folder, _folders, files in os.walk(root):
            for file in files:
                relative = os.path.relpath(f"{folder}/{file}", root)
                try:
                    found.append(ResourceName.parse(relative))
                except IllegalName:
                    continue  # an unfinished write
        return sorted(found)
