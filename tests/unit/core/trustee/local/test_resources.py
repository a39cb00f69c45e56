"""Names of resources, and what is kept under them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.resources import IllegalName, ResourceName, Resources


def test_what_is_set_is_had_listed_and_deleted(tmp_path: Path) -> None:
    resources = Resources(Folder(tmp_path))
    name = ResourceName.parse("default/crag/k.1")
    assert resources.get(name) is None
    resources.set(name, b"\x00\xff\n")
    resources.set(name, b"\x00\xff\n\n")
    assert resources.get(name) == b"\x00\xff\n\n"
    assert [str(n) for n in resources.names()] == ["default/crag/k.1"]
    assert resources.delete(name)
    assert not resources.delete(name)
    assert resources.names() == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/b",
        "a/b/c/d",
        "a//c",
        "/a/b/c",
        "a/b/c/",
        "../a/b",
        "a/../b",
        "a/b/..",
        "a/b/.c",
        "a/b/c\n",
        "a/b/c\0",
        "a/b/c d",
        "a/b/汉",
        "a\\b/c/d",
        "a/b/" + "c" * 129,
        "kbs:///a/b/c",
    ],
)
def test_names_that_could_leave_the_folder_are_refused(text: str) -> None:
    with pytest.raises(IllegalName):
        ResourceName.parse(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab./\\%\0\n-_é", max_size=16))
def test_every_name_that_is_taken_stays_below_the_folder(text: str) -> None:
    try:
        name = ResourceName.parse(text)
    except IllegalName:
        return
    root = Path("/trustee/resources")
    path = Path("/trustee").joinpath(*name.parts)
    assert path.resolve().is_relative_to(root)
    assert len(path.relative_to(root).parts) == 3
    assert str(name) == text
