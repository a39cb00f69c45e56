"""``crag-provider serve`` for real: what it takes to come up, what it refuses, what it leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crag_core.snapshot import Anchor
from crag_provider.model.mount import fuse_missing, is_mounted
from support.poll import until
from support.provider import (
    COLLECTION,
    DATA_KEY,
    MODEL_KEY,
    Serving,
    World,
    descendants,
    gone,
    listening,
    world,
)

WHO = "Who opened the Lind bridge?"
ANCHOR = DATA_KEY.replace("-key", "-snapshot")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("provider")) as made:
        made.allow()
        yield made


@pytest.fixture(scope="module")
def up(place: World) -> Iterator[Serving]:
    with place.provider.serving("-v") as serving:
        yield serving


def ask(up: Serving, question: str) -> dict[str, object]:
    reply = httpx.post(
        f"{up.api}/rag/query", json={"question": question}, trust_env=False, timeout=120
    )
    assert reply.status_code == 200, reply.text
    body: dict[str, object] = reply.json()
    return body


def test_the_ready_line_says_what_is_served(up: Serving) -> None:
    facts = up.facts
    assert facts["ready"] is True and facts["insecure"] is True
    assert facts["collection"] == COLLECTION and facts["model"].startswith("SmolLM2")
    assert facts["model_access"] == ("memory" if fuse_missing() else "fuse")
    assert facts["snapshot"]["sequence"] >= 1


def test_questions_are_answered_from_the_owners_documents(up: Serving) -> None:
    answered = ask(up, WHO)
    assert "Anna Lind" in str(answered["answer"])
    assert answered["citations"][0]["source"].endswith("town.md")  # type: ignore[index]


def test_a_chinese_question_is_answered_from_the_chinese_document(up: Serving) -> None:
    answered = ask(up, "数据治理委员会是哪一年成立的?")
    assert "2021" in str(answered["answer"])
    assert answered["citations"][0]["source"].endswith("转型.txt")  # type: ignore[index]


def test_the_gateway_answers_nobody_who_does_not_verify_it(up: Serving) -> None:
    reply = httpx.post(f"{up.facts['url']}/rag/query", json={"question": WHO}, trust_env=False)
    assert reply.status_code == 403 and "Anna" not in reply.text


def test_everything_but_the_gateway_listens_on_loopback(up: Serving) -> None:
    pids = [up.process.pid, *descendants(up.process.pid)]
    ports = {port for pid in pids for port in listening(pid)}
    assert ports
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        address, port = columns[1].split(":")
        if columns[3] == "0A" and int(port, 16) in ports:
            assert address == "0100007F"


def test_health_is_apart_from_the_api(up: Serving) -> None:
    assert httpx.get(f"{up.facts['health']}/readyz", trust_env=False).text == "ok\n"
    assert httpx.get(f"{up.api}/readyz", trust_env=False).status_code == 404


def test_no_question_answer_or_text_is_logged(up: Serving, place: World) -> None:
    ask(up, WHO)
    httpx.post(f"{up.api}/rag/query", content=b"Lind{", trust_env=False)
    said = (place.provider.work / "serve.log").read_text()
    assert "verified" in said
    for word in ("Lind", "bridge", "Anna", "town.md", "Wool"):
        assert word not in said


def test_no_key_is_in_any_command_line_or_environment(up: Serving, place: World) -> None:
    secret = next((place.provider.home / "keys").glob("model-*.key")).read_bytes().strip()
    for pid in [up.process.pid, *descendants(up.process.pid)]:
        for name in ("cmdline", "environ"):
            assert secret not in Path(f"/proc/{pid}/{name}").read_bytes()


def test_a_newer_snapshot_is_verified_before_it_answers(up: Serving, place: World) -> None:
    (place.folder / "documents" / "tower.txt").write_text("The Holm tower is 77 metres high.\n")
    place.owner.ok("ingest", str(place.folder / "documents"), "--collection", COLLECTION)
    answered = ask(up, "How high is the Holm tower?")
    assert "77 metres" in str(answered["answer"])
    assert answered["receipt"]["snapshot"]["sequence"] > up.facts["snapshot"]["sequence"]  # type: ignore[index]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_nothing_is_left(place: World, number: signal.Signals) -> None:
    with place.provider.serving() as serving:
        children = descendants(serving.process.pid)
        assert len(children) >= 2
        serving.process.send_signal(number)
        serving.process.wait(60)
    assert serving.process.returncode == (-9 if number == signal.SIGKILL else 0)
    gone(children)
    until(lambda: not is_mounted(serving.point), 20, "unmounting")
    with pytest.raises(httpx.ConnectError):
        httpx.get(serving.facts["url"], trust_env=False)
    assert [
        path for path in serving.point.rglob("*") if path.is_file() and not path.is_symlink()
    ] == []


def test_when_the_model_dies_the_service_ends(place: World) -> None:
    with place.provider.serving() as serving:
        for pid in descendants(serving.process.pid):
            if b"llamacpp_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        assert serving.process.wait(60) == 1
        assert serving.process.stdout is not None
        said = json.loads(serving.process.stdout.readline())
    assert said["error"]["message"] == "The language model ended."


def test_the_model_can_be_decrypted_into_memory(place: World) -> None:
    place.provider.settings["CRAG_PROVIDER_MODEL_ACCESS"] = "memory"
    try:
        place.allow()  # gocryptfs is not started, so it isn't measured
        with place.provider.serving() as serving:
            assert serving.facts["model_access"] == "memory"
            assert "Anna Lind" in str(ask(serving, WHO)["answer"])
    finally:
        del place.provider.settings["CRAG_PROVIDER_MODEL_ACCESS"]
        place.allow()


def refused(place: World, code: int, *arguments: str) -> dict[str, object]:
    """``serve`` must end with ``code`` and leave nothing mounted; its error."""
    point = place.folder / "refused"
    done = place.provider.run("serve", "--json", "--mount-point", str(point), *arguments)
    assert done.code == code, (done.code, done.out, done.err)
    assert not is_mounted(point)
    return done.error


def test_a_changed_configuration_gets_no_key(place: World) -> None:
    said = refused(place, 11, "-k", "6")
    assert said["code"] == "policy-denied"


def test_a_changed_model_gets_no_key(place: World) -> None:
    (place.volume / "added").write_bytes(b"x")
    try:
        refused(place, 11)
    finally:
        (place.volume / "added").unlink()


def test_without_leave_to_make_evidence_up_nothing_starts(place: World) -> None:
    place.provider.settings["CRAG_PROVIDER_INSECURE_SAMPLE_EVIDENCE"] = ""
    try:
        said = refused(place, 20)
    finally:
        place.provider.settings["CRAG_PROVIDER_INSECURE_SAMPLE_EVIDENCE"] = "1"
    assert "TEE" in str(said["message"])


def test_a_trustee_that_wants_hardware_refuses(place: World, tmp_path: Path) -> None:
    from support.trustee import start

    strict = start(tmp_path / "strict", accept_sample=False)
    try:
        refused(place, 10, "--trustee-url", strict.url)
    finally:
        strict.trustee.stop()


def test_a_swapped_data_key_is_found_by_the_collection(place: World) -> None:
    try:
        with place.owners.admin() as admin:
            admin.set_resource(DATA_KEY, os.urandom(32))
        said = refused(place, 12)
    finally:
        place.push_data_key()
    assert said["code"] == "wrong-key"


def test_a_swapped_data_key_is_found_by_the_pinned_check_value(place: World) -> None:
    place.provider.settings["CRAG_PROVIDER_DATA_KEY_CHECK"] = "kcv1:" + "0" * 32
    try:
        place.allow()
        said = refused(place, 12)
    finally:
        del place.provider.settings["CRAG_PROVIDER_DATA_KEY_CHECK"]
        place.allow()
    assert said["code"] == "data-key-mismatch"


def test_a_swapped_model_key_mounts_nothing(place: World) -> None:
    try:
        with place.providers.admin() as admin:
            admin.set_resource(MODEL_KEY, b"ab" * 32)
        said = refused(place, 12)
    finally:
        place.push_model_key()
    assert said["code"] == "wrong-model-key"


def test_a_collection_older_than_the_owners_anchor_is_refused(place: World) -> None:
    place.push_data_key()
    anchor = Anchor.from_bytes(next((place.owner.home / "anchors").rglob("*.json")).read_bytes())
    later = dataclasses.replace(anchor, sequence=anchor.sequence + 5)
    try:
        with place.owners.admin() as admin:
            admin.set_resource(ANCHOR, later.to_bytes())
        said = refused(place, 12)
    finally:
        place.push_data_key()
    assert "is older than" in str(said["message"])


def test_what_is_no_anchor_is_refused(place: World) -> None:
    try:
        with place.owners.admin() as admin:
            admin.set_resource(ANCHOR, b"nothing")
        refused(place, 30)
    finally:
        place.push_data_key()


def test_a_missing_anchor_is_a_refusal_or_a_warning_as_wanted(place: World) -> None:
    with place.owners.admin() as admin:
        admin.delete_resource(ANCHOR)
    try:
        said = refused(place, 1)
        assert said["code"] == "no-anchor"
        assert "crag-owner key push" in str(said["hint"])
        place.provider.settings["CRAG_PROVIDER_REQUIRE_ANCHOR"] = "0"
        place.allow()
        with place.provider.serving():
            assert "releases no anchor" in (place.provider.work / "serve.log").read_text()
    finally:
        place.provider.settings.pop("CRAG_PROVIDER_REQUIRE_ANCHOR", None)
        place.push_data_key()
        place.allow()


def test_a_database_that_does_not_answer_can_be_tried_again(place: World) -> None:
    kept = place.provider.settings["CRAG_DB_PORT"]
    place.provider.settings["CRAG_DB_PORT"] = "9"
    try:
        refused(place, 75)
    finally:
        place.provider.settings["CRAG_DB_PORT"] = kept


def test_a_trustee_that_does_not_answer_can_be_tried_again(place: World) -> None:
    refused(place, 75, "--trustee-url", "http://127.0.0.1:9")


def test_a_port_that_is_taken_is_told(place: World, up: Serving) -> None:
    said = refused(place, 1, "--listen", up.facts["url"].removeprefix("http://"))
    assert said["code"] == "port-taken", said


@pytest.mark.parametrize(
    ("lines", "code", "says"),
    [
        ("MODEL_ENCRYPTION_METHOD=sam", 20, "Sam toolkit"),
        ("MODEL_OSS_BUCKET_PATH=oss://bucket/model", 20, "object storage"),
        ("TRUSTEE_URL=$(id)", 30, "Line 1"),
        ("ALT_KEY_ID=", 2, "alt-key-id"),
    ],
)
def test_a_cai_env_that_cannot_be_served_is_refused(
    place: World, tmp_path: Path, lines: str, code: int, says: str
) -> None:
    kept = dict(place.provider.settings)
    for name in ("MODEL", "ALT_KEY_ID"):
        del place.provider.settings[f"CRAG_PROVIDER_{name}"]
    (tmp_path / "cai.env").write_text(lines + "\n")
    more = [] if "ALT_KEY_ID" in lines else ["--alt-key-id", DATA_KEY]
    try:
        said = refused(place, code, "--env-file", str(tmp_path / "cai.env"), *more)
    finally:
        place.provider.settings = kept
    assert says in str(said["message"])


def test_the_guides_cai_env_measures_the_same_as_the_options(place: World, tmp_path: Path) -> None:
    by_options = place.provider.ok("attest")
    kept = dict(place.provider.settings)
    database = {name: value for name, value in kept.items() if name.startswith("CRAG_DB")}
    (tmp_path / "cai.env").write_text(
        "\n".join(
            [
                f"TRUSTEE_URL={place.providers.url}",
                f'MODEL_KEY_ID="{MODEL_KEY}"',
                f"MODEL_OSS_BUCKET_PATH=file://{place.volume}",
                "MODEL_ENCRYPTION_METHOD=gocryptfs",
                f"MODEL_MOUNT_POINT={tmp_path}/mount",
                f"ALT_TRUSTEE_URL='{place.owners.url}'",
                f"ALT_KEY_ID={DATA_KEY}",
                "MODEL_SERVICE_PORT=20001",
                f"CRAG_PROVIDER_COLLECTION={COLLECTION}",
                "CRAG_PROVIDER_INSECURE_SAMPLE_EVIDENCE=1",
                *(f"{name}={value}" for name, value in database.items()),
            ]
        )
    )
    place.provider.settings = {}
    try:
        by_file = place.provider.ok("attest", "--env-file", str(tmp_path / "cai.env"))
    finally:
        place.provider.settings = kept
    assert by_file["reference_values"] == by_options["reference_values"]
    assert by_file["measurement"]["register"] == by_options["measurement"]["register"]


def test_attest_asks_nobody_and_shows_what_changes(place: World) -> None:
    one = place.provider.ok("attest", "--trustee-url", "http://127.0.0.1:9")
    other = place.provider.ok("attest", "--trustee-url", "http://127.0.0.1:9", "-k", "7")
    assert one["tee"] == "sample" and one["insecure"] is True
    assert one["reference_values"]["crag.software"] == other["reference_values"]["crag.software"]
    assert one["reference_values"]["crag.model"] == other["reference_values"]["crag.model"]
    assert (
        one["reference_values"]["crag.configuration"]
        != other["reference_values"]["crag.configuration"]
    )
    assert one["evidence"]["measure_register"] == one["measurement"]["register"]
