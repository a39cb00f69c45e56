"""``crag-user verify`` against the local Trustee and the real TNG."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.gateway.endpoint import free_endpoint
from crag_user.history import History
from support.rag import Rag, rag
from support.small_as import Signer
from support.user import run

SHAPE = ["verdict", "insecure", "tee", "measurements", "tcb", "gpu", "policy_id", "token", "checks"]
SHAPE += ["history"]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rag]:
    with rag(tmp_path_factory.mktemp("rag")) as made:
        yield made


def test_a_known_measurement_is_affirmed_and_shown(there: Rag) -> None:
    done = run("verify", there.url, *there.trusted(), "--allow-insecure-evidence", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == SHAPE
    assert (report["verdict"], report["insecure"], report["tee"]) == ("affirming", True, "sample")
    assert there.measured.register().hex() in report["measurements"].values()
    assert report["policy_id"] == "default"
    assert report["token"]["expires"] > report["token"]["issued"]
    assert all(check["ok"] for check in report["checks"])
    assert "insecure evidence" in done.stderr
    assert there.service.questions == []


def test_a_person_reads_what_was_verified(there: Rag) -> None:
    done = run("verify", there.url, *there.trusted(), "--allow-insecure-evidence")
    assert done.returncode == 0
    assert f"{there.url}: affirming (INSECURE: software evidence)" in done.stdout
    assert there.measured.register().hex() in done.stdout


def test_sample_evidence_is_refused_unless_allowed(there: Rag) -> None:
    done = run("verify", there.url, *there.trusted(), "--json")
    assert done.returncode == 10
    report = json.loads(done.stdout)
    assert list(report) == [*SHAPE, "error"]
    assert (report["verdict"], report["insecure"]) == ("rejected", True)
    assert report["error"]["exit"] == 10
    assert [c["name"] for c in report["checks"] if not c["ok"]] == ["hardware"]
    spoken = run("verify", there.url, *there.trusted())
    assert spoken.returncode == 10
    assert "made by software" in spoken.stderr
    assert there.service.questions == []


def test_an_unknown_measurement_is_refused(tmp_path: Path) -> None:
    with rag(tmp_path, known=False) as made:
        done = run("verify", made.url, *made.trusted(), "--allow-insecure-evidence", "--json")
        assert done.returncode == 10
        report = json.loads(done.stdout)
        assert report["verdict"] == "rejected"
        assert "not affirming" in report["error"]["message"]
        assert made.service.questions == []


def test_a_trustee_that_refuses_sample_evidence_tells_why(tmp_path: Path) -> None:
    with rag(tmp_path, accept_sample=False) as made:
        done = run("verify", made.url, *made.trusted(), "--allow-insecure-evidence")
        assert done.returncode == 10
        assert "the Trustee refused its evidence" in done.stderr
        assert "sample" in done.stderr


def test_a_certificate_that_is_not_the_trustees_is_refused(there: Rag, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Signer().ca_pem)
    words = ["--trustee", there.place.url, "--trustee-certificate", str(other)]
    done = run("verify", there.url, *words, "--allow-insecure-evidence")
    assert done.returncode == 10
    assert "not signed by the pinned certificate" in done.stderr


def test_another_policy_is_refused(there: Rag) -> None:
    words = [*there.trusted(), "--policy-id", "strict", "--allow-insecure-evidence"]
    done = run("verify", there.url, *words)
    assert done.returncode == 10


def test_nobody_is_trusted_by_default(there: Rag, tmp_path: Path) -> None:
    done = run("verify", there.url)
    assert done.returncode == 2
    assert "No Trustee is named" in done.stderr
    missing = run("verify", there.url, "--trustee", there.place.url)
    assert missing.returncode == 2
    assert "certificate" in missing.stderr
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    none = run("verify", there.url, *there.trusted()[:3], str(empty))
    assert none.returncode == 2
    assert "no PEM certificate" in none.stderr


def test_the_trustee_on_this_machine_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAG_HOME", str(tmp_path))
    with rag(tmp_path) as made:
        done = run("verify", made.url, "--allow-insecure-evidence", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdict"] == "affirming"


def test_what_is_down_is_exit_75(there: Rag) -> None:
    done = run("verify", free_endpoint().url, *there.trusted(), "--json", timeout=40)
    assert done.returncode == 75
    assert json.loads(done.stdout)["error"]["code"] == "unreachable"


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://a@b:1", "http://h/x"]
)
def test_a_url_that_is_none_is_a_usage_error(there: Rag, url: str) -> None:
    done = run("verify", url, *there.trusted())
    assert done.returncode == 2


def test_another_measurement_at_the_same_service_is_noticed(there: Rag) -> None:
    words = ("verify", there.url, *there.trusted(), "--allow-insecure-evidence", "--json")
    History().forget(there.url)
    first = run(*words)
    assert json.loads(first.stdout)["history"]["known"] is False
    again = run(*words)
    assert json.loads(again.stdout)["history"]["changed"] is False
    assert "IS NOT WHAT" not in again.stderr
    path = History().path(there.url)
    path.write_text(path.read_text().replace(there.measured.register().hex(), "ab" * 32))
    changed = run(*words)
    assert changed.returncode == 0
    found = json.loads(changed.stdout)["history"]
    assert found["changed"] is True
    assert found["changes"][0]["was"] == "ab" * 32
    assert "IS NOT WHAT YOU VERIFIED BEFORE" in changed.stderr
    shown = json.loads(run("history", "--json").stdout)["services"]
    assert [service["url"] for service in shown] == [there.url]
    assert [bool(entry["changes"]) for entry in shown[0]["entries"]] == [False, True]
    assert "CHANGED" in run("history", there.url).stdout
