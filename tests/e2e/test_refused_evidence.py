"""Evidence that isn't good enough: no key leaves, no question leaves, nothing listens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import crag_provider
from support.house import House


def test_trustee_without_the_insecure_flag_gives_no_key_to_sample_evidence(house: House) -> None:
    strict = house.variant("owner", CRAG_HOME=str(house.root / "strict"))
    server, ready = strict.serve(False, "trustee", "serve", "--listen", "127.0.0.1:0")
    try:
        party = house.variant("provider", CRAG_PROVIDER_ALT_TRUSTEE_URL=ready["url"])
        house.pin(party)
        code, error = house.refused(party)
    finally:
        server.stop()
    assert code == 10
    assert "sample" in str(error["message"])


@pytest.mark.parametrize("arguments", [("verify",), ("connect", "--listen", "127.0.0.1:0")])
def test_user_without_the_insecure_flag_refuses_sample_evidence(
    house: House, service: str, arguments: tuple[str, ...]
) -> None:
    user = house.variant("user", CRAG_USER_ALLOW_INSECURE_EVIDENCE=None)
    code, answer, _ = user.attempt(arguments[0], service, *arguments[1:])
    assert code == 10
    said = str(answer.get("error", answer))
    assert "software" in said or "sample" in said
    assert "--allow-insecure-evidence" in said


def test_user_with_the_flag_is_told_so_everywhere(house: House, service: str) -> None:
    code, answer, stderr = house.user.attempt("verify", service)
    assert code == 0
    assert answer["verdict"] == "affirming"
    assert answer["insecure"] is True
    assert "warning" in stderr


def test_changed_configuration_gets_no_key(house: House) -> None:
    code, _ = house.refused(house.variant("provider", CRAG_PROVIDER_PASSAGES="4"))
    assert code in (10, 11)


def test_changed_wheel_gets_no_key(house: House, tmp_path: Path) -> None:
    installed = Path(str(crag_provider.__file__)).parent
    shutil.copytree(installed, tmp_path / "crag_provider",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    with (tmp_path / "crag_provider" / "receipts.py").open("a") as source:
        source.write("\n# one comment more\n")
    code, _ = house.refused(house.variant("provider", PYTHONPATH=str(tmp_path)))
    assert code in (10, 11)


def test_changed_model_gets_no_key(house: House, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    shutil.copytree(house.provider.settings["CRAG_PROVIDER_MODEL"], volume)
    weights = max(volume.rglob("*"), key=lambda path: path.stat().st_size)
    with weights.open("r+b") as stream:
        stream.seek(5000)
        byte = stream.read(1)
        stream.seek(5000)
        stream.write(bytes([byte[0] ^ 1]))
    code, _ = house.refused(house.variant("provider", CRAG_PROVIDER_MODEL=str(volume)))
    assert code in (10, 11)


def test_resource_that_the_owner_never_allowed_stays_closed(house: House) -> None:
    other = "kbs:///default/crag/other-key"
    trustee = house.trustees["owner"]
    house.owner.run(
        "key", "push", "--trustee", trustee["url"], "--admin-key-file", trustee["admin_key"],
        "--resource", other,
    )  # fmt: skip
    # its measurement is pinned, so that only the resource policy is left to say no
    party = house.variant("provider", CRAG_PROVIDER_ALT_KEY_ID=other)
    house.pin(party)
    code, error = house.refused(party)
    assert code == 11
    assert "other-key" in str(error["message"])
