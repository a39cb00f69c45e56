from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.measurement import Event, Measurement, configuration, model
from crag_core.errors import BadInput

SOFTWARE = {"format": "crag/software/v1", "python": "cpython 3.11.7"}
MODEL = {"format": "crag/model/v1", "files": [{"path": "a", "size": 1, "sha256": "00" * 32}]}


def _measured(**changes: Any) -> Measurement:
    settings = {"llm": "llamacpp", "k": 5} | changes.pop("settings", {})
    return Measurement(
        [
            Event("software", SOFTWARE | changes.pop("software", {})),
            Event("model", MODEL | changes.pop("model", {})),
            Event("configuration", configuration(settings)),
        ]
    )


# Computed without crag, from docs/reference/measurement.md.
def test_the_register_of_known_events_never_changes() -> None:
    assert _measured().register().hex() == (
        "bc1a7bf56ca529172f39b80528072cad04bf111604131111257761f99322bd2f"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"software": {"python": "cpython 3.11.8"}},
        {"model": {"files": []}},
        {"settings": {"k": 6}},
        {"settings": {"insecure": True}},
    ],
)
def test_any_change_of_what_runs_changes_register_and_one_reference_value(change: Any) -> None:
    before, after = _measured(), _measured(**change)
    assert before.register() != after.register()
    old, new = before.reference_values(), after.reference_values()
    assert sum(old[name] != new[name] for name in old) == 1


def test_the_order_of_events_is_part_of_the_register() -> None:
    events = _measured().events
    assert Measurement(list(reversed(events))).register() != Measurement(events).register()


def test_reference_values_are_the_digests_of_the_canonical_contents() -> None:
    values = _measured().reference_values()
    assert values["crag.software"] == [hashlib.sha256(canonical_json(SOFTWARE)).hexdigest()]
    assert sorted(values) == ["crag.configuration", "crag.model", "crag.software"]


def test_event_reference_values_are_the_digests_that_the_log_carries() -> None:
    measured = _measured()
    log = measured.eventlog()
    for values in measured.event_reference_values().values():
        assert bytes.fromhex(values[0]) in log
        assert len(values[1]) == 96


def test_contents_do_not_leave_the_enclave_in_the_log() -> None:
    log = _measured(settings={"collection": "quarterly-reports"}).eventlog()
    assert b"quarterly-reports" not in log
    assert b"llamacpp" not in log


def test_one_name_is_measured_once() -> None:
    with pytest.raises(BadInput):
        Measurement([Event("model", MODEL), Event("model", SOFTWARE)])


def test_a_setting_without_canonical_form_is_refused() -> None:
    with pytest.raises(BadInput):
        configuration({"path": Path("/x")})


def _volume(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "gocryptfs.conf").write_bytes(b"{}")
    (root / "sub" / "b").write_bytes(b"weights")
    return root


def test_a_model_is_every_file_with_size_and_digest(tmp_path: Path) -> None:
    content = model(_volume(tmp_path / "m"))
    assert content["format"] == "crag/model/v1"
    assert content["files"] == [
        {"path": "gocryptfs.conf", "size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()},
        {"path": "sub/b", "size": 7, "sha256": hashlib.sha256(b"weights").hexdigest()},
    ]


def test_every_change_of_a_volume_changes_its_digest(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "m")
    seen = {Event("model", model(volume)).digest}
    (volume / "sub" / "b").write_bytes(b"weightS")
    seen.add(Event("model", model(volume)).digest)
    (volume / "sub" / "b").rename(volume / "sub" / "c")
    seen.add(Event("model", model(volume)).digest)
    (volume / "extra").write_bytes(b"")
    seen.add(Event("model", model(volume)).digest)
    assert len(seen) == 4


def test_where_a_volume_lies_does_not_matter(tmp_path: Path) -> None:
    assert model(_volume(tmp_path / "one")) == model(_volume(tmp_path / "two"))


def test_a_link_in_a_volume_is_refused(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "m")
    (volume / "link").symlink_to("/etc/hostname")
    with pytest.raises(BadInput, match="link"):
        model(volume)


def test_a_pipe_in_a_volume_is_refused_and_not_read(tmp_path: Path) -> None:
    volume = _volume(tmp_path / "m")
    os.mkfifo(volume / "pipe")
    with pytest.raises(BadInput, match="special"):
        model(volume)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_volume_without_files_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput):
        model(tmp_path / name)
