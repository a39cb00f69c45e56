"""``trustee serve`` and its administration as commands, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crag_core.attestation.evidence import SampleSource
from crag_core.errors import PolicyDenied
from crag_core.trustee.admin import AdminClient
from crag_core.trustee.kbs import KbsClient
from support.poll import until
from support.trustee import RESOURCE, SECRET, measurement

MAIN = """
import sys
from crag_core.command import group, run
root = group("crag-owner", "t", {"trustee": ("crag_core.trustee.cli:trustee_group", "t")})
sys.exit(run(root, "owner"))
"""


def crag(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Run a command with --json: its exit code and its object."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "trustee", *map(str, arguments), "--json"],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert SECRET not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "trustee", "serve", "--json", "--dir", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def test_the_ready_line_names_what_a_program_needs(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    with serving(folder) as (_process, ready):
        assert ready == {
            "ready": True,
            "url": ready["url"],
            "certificate": str(folder / "ca.pem"),
            "admin_key": str(folder / "admin.key"),
            "insecure": False,
        }
        assert httpx.get(f"{ready['url']}/health", trust_env=False).json() == {"status": "ok"}
        for path in folder.rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_two_seconds_even_with_a_request_open(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path / "t") as (process, ready):
        url = httpx.URL(ready["url"])
        with socket.create_connection((url.host, url.port or 0)) as peer:
            peer.sendall(b"POST /api/kbs/v0/auth HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            begun = time.monotonic()
            process.send_signal(number)
            assert process.wait(10) == 0
            assert time.monotonic() - begun < 2
    assert not (tmp_path / "t" / "endpoint.json").exists()


def test_it_keeps_its_identity_and_its_resources_over_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    with serving(folder):
        assert crag("resource", "set", RESOURCE, "--file", secret, "--dir", folder)[0] == 0
    before = (folder / "ca.pem").read_bytes(), (folder / "admin.key").read_bytes()
    with serving(folder):
        assert before == ((folder / "ca.pem").read_bytes(), (folder / "admin.key").read_bytes())
        code, found = crag("resource", "list", "--dir", folder)
        assert (code, found) == (0, {"resources": [RESOURCE]})


def test_applying_a_measurement_releases_the_key_to_it_and_to_no_other(tmp_path: Path) -> None:
    folder, file = tmp_path / "t", tmp_path / "measurement.json"
    file.write_text(json.dumps({"reference_values": measurement().reference_values()}))
    uri = f"kbs:///{RESOURCE}"
    with serving(folder, "--insecure-accept-sample-evidence") as (_process, ready):
        assert ready["insecure"] is True
        assert crag("resource", "set", uri, "--file", "-", "--dir", folder, stdin=SECRET)[0] == 0
        apply = ("policy", "apply", "--measurement", file, "--resource", uri, "--dir", folder)
        code, plan = crag(*apply, "--dry-run")
        assert (code, plan["applied"]) == (0, False)
        with (
            KbsClient(ready["url"], SampleSource(measurement())) as client,
            pytest.raises(PolicyDenied),
        ):
            client.fetch(uri)
        code, done = crag(*apply)
        assert (code, done["applied"], done["resources"]) == (0, True, [RESOURCE])
        with KbsClient(ready["url"], SampleSource(measurement())) as client:
            assert client.fetch(uri) == SECRET
        with (
            KbsClient(ready["url"], SampleSource(measurement("another"))) as client,
            pytest.raises(PolicyDenied),
        ):
            client.fetch(uri)
        code, shown = crag("policy", "show", "--dir", folder)
        assert shown["resources"] == [RESOURCE]
        assert shown["reference_values"] == measurement().reference_values()


def test_a_second_measurement_is_added_and_replace_forgets_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    files = []
    for name in ("one", "two"):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps({"reference_values": measurement(name).reference_values()}))

    def fetch(name: str, url: str) -> bytes:
        with KbsClient(url, SampleSource(measurement(name))) as client:
            return client.fetch(RESOURCE)

    with serving(folder, "--insecure-accept-sample-evidence") as (_process, ready):
        options = ("--resource", RESOURCE, "--dir", folder)
        crag("resource", "set", RESOURCE, "--file", "-", "--dir", folder, stdin=SECRET)
        code, first = crag("policy", "apply", "--measurement", files[0], *options)
        assert (code, first["older"], first["retired"]) == (0, {}, {})
        code, both = crag("policy", "apply", "--measurement", files[1], *options)
        old = {"crag.software": measurement("one").reference_values()["crag.software"]}
        assert (code, both["older"], both["retired"]) == (0, old, {})
        assert fetch("one", ready["url"]) == fetch("two", ready["url"]) == SECRET
        replace = ("policy", "apply", "--measurement", files[1], "--replace", *options)
        code, plan = crag(*replace, "--dry-run")
        assert (code, plan["applied"], plan["retired"]) == (0, False, old)
        assert fetch("one", ready["url"]) == SECRET
        code, only = crag(*replace)
        assert (code, only["older"], only["retired"]) == (0, {}, old)
        assert fetch("two", ready["url"]) == SECRET
        with pytest.raises(PolicyDenied):
            fetch("one", ready["url"])


def test_a_policy_of_somebody_elses_making_is_not_added_to(tmp_path: Path) -> None:
    folder, file = tmp_path / "t", tmp_path / "measurement.json"
    file.write_text(json.dumps({"reference_values": measurement().reference_values()}))
    own = 'package policy\nimport rego.v1\ndefault allow := false\nallow if input.tee == "tdx"\n'
    with serving(folder):
        (folder / "resource-policy.rego").write_text(own)
        options = ("--measurement", file, "--resource", RESOURCE, "--dir", folder)
        code, refused = crag("policy", "apply", *options)
        assert (code, refused["error"]["code"]) == (1, "foreign-policy")
        assert (folder / "resource-policy.rego").read_text() == own
        assert crag("policy", "apply", "--replace", *options)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("resource", "list"), 75),
        (("resource", "list", "--trustee", "http://127.0.0.1:9/api"), 30),
        (("resource", "set", "a/b", "--file", "-"), 30),
        (("serve", "--listen", "0.0.0.0:0"), 2),
        (("serve", "--listen", "nowhere"), 2),
        (("serve", "--token-seconds", "1"), 2),
        (("policy", "apply", "--measurement", "/nonexistent", "--resource", "a/b/c"), 30),
        (("policy", "apply", "--measurement", "-", "--resource", "a/b/c"), 30),
    ],
)
def test_refusals_say_what_was_wrong_and_what_to_do(
    arguments: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    found, answer = crag(*arguments, "--dir", tmp_path / "none")
    assert found == code
    assert answer["error"]["message"].endswith(".")
    assert answer["error"]["hint"]


def test_the_wrong_admin_key_is_told_apart(tmp_path: Path) -> None:
    with serving(tmp_path / "one") as (_process, ready), serving(tmp_path / "two"):
        key = tmp_path / "two" / "admin.key"
        code, answer = crag("resource", "list", "--trustee", ready["url"], "--admin-key-file", key)
        assert (code, answer["error"]["code"]) == (1, "admin-refused")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with serving(tmp_path / "one") as (_process, ready):
        port = str(httpx.URL(ready["url"]).port)
        code, answer = crag("serve", "--listen", f"127.0.0.1:{port}", "--dir", tmp_path / "two")
        assert (code, answer["error"]["code"]) == (1, "address-in-use")


def test_two_processes_serve_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    with serving(folder) as (_one, first), serving(folder) as (_two, second):
        key = str(folder / "admin.key")
        for number, url in enumerate((first["url"], second["url"])):
            options = ("--trustee", url, "--admin-key-file", key)
            name = f"default/crag/k{number}"
            assert crag("resource", "set", name, "--file", "-", *options, stdin=SECRET)[0] == 0
        listed = crag("resource", "list", "--trustee", first["url"], "--admin-key-file", key)[1]
        assert listed == {"resources": ["default/crag/k0", "default/crag/k1"]}


def test_the_admins_private_key_can_live_elsewhere(tmp_path: Path) -> None:
    folder, away = tmp_path / "t", tmp_path / "away.key"
    with serving(folder):
        pass
    (folder / "admin.key").rename(away)
    with serving(folder) as (_process, ready):
        assert ready["admin_key"] is None
        options = ("--dir", folder, "--admin-key-file", away)
        assert crag("resource", "list", *options) == (0, {"resources": []})
    assert not (folder / "admin.key").exists()


def test_killed_in_the_middle_of_writes_it_leaves_whole_resources_only(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    resource = folder / "resources" / RESOURCE
    big = 200_000
    first = bytes([0]) * big
    whole = {bytes([n]) * big for n in range(8)}

    def rewritten() -> bool:
        return resource.read_bytes() != first

    for _round in range(4):
        with serving(folder) as (process, ready):
            admin = AdminClient(ready["url"], (folder / "admin.key").read_bytes())
            admin.set_resource(RESOURCE, first)
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, ready["url"], str(folder / "admin.key"), str(big)],
                stderr=subprocess.DEVNULL,
            )
            until(rewritten, 20, "the writer to write")
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            writer.kill()
            writer.wait(10)
            admin.close()
        assert resource.read_bytes() in whole
    with serving(folder):
        assert [p.name for p in resource.parent.iterdir()] == [resource.name]


WRITER = """
import sys
from pathlib import Path
from crag_core.trustee.admin import AdminClient
admin = AdminClient(sys.argv[1], Path(sys.argv[2]).read_bytes())
n = 0
while True:
    n = n % 7 + 1
    admin.set_resource("default/crag/documents-key", bytes([n]) * int(sys.argv[3]))
"""
