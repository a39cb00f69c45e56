"""What TNG says becomes a sentence, the right exit code, and nothing of a request."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import AttestationRejected, CragError, Unreachable
from crag_core.gateway.log import StartupLog, error_of
from crag_core.gateway.reasons import StaleKey, answer_error, printable, refusal
from crag_core.gateway.status import parse_servers

SERVICE, TRUSTEE = "http://provider:20001", "http://trustee:8081/api"


def told(text: str) -> CragError:
    return refusal(text, service=SERVICE, trustee=TRUSTEE)


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        (
            (
                "verify ohttp key-config attestation\n\nCaused by:\n    0: Failed to verify "
                "attestation evidence\n    1: EAR status is not affirming: got warning for cpu0, "
                'trustworthiness: {"executables":33,"hardware":2}'
            ),
            AttestationRejected,
            "verdict on cpu0 is warning, not affirming (executables 33, hardware 2)",
        ),
        (
            (
                "Failed to create OHTTP client: Failed to verify attestation evidence: Attestation "
                "service /attestation returned HTTP error (api_version: V1_6_0): status=422, "
                'response={"detail":"no\\u001bsample"}'
            ),
            AttestationRejected,
            "the Trustee refused its evidence (422: no sample)",
        ),
        (
            (
                "Failed to create OHTTP client: Failed to request ohttp key config from server: "
                "ohttp key config has no attestation_info"
            ),
            AttestationRejected,
            "does not attest",
        ),
        (
            "parse KeyConfigResponse\n\nCaused by:\n    0: error decoding response body",
            AttestationRejected,
            "not an attesting gateway",
        ),
        (
            (
                "fetch ohttp key config\n\nCaused by:\n    0: error sending request\n    1: client "
                "error (Connect)\n    2: tcp connect error"
            ),
            Unreachable,
            f"{SERVICE} does not answer",
        ),
        (
            (
                "request challenge token from AS at http://t\n\nCaused by:\n    0: Failed to send "
                "/challenge HTTP request to AS"
            ),
            Unreachable,
            f"{TRUSTEE} does not answer",
        ),
        (
            (
                "requesting challenge token from AS: Attestation service /challenge returned "
                "HTTP error (api_version: V1_6_0): status=503, response=busy"
            ),
            Unreachable,
            "answers 503",
        ),
        (
            (
                "ohttp key-config endpoint returned error status\n\nCaused by:\n    HTTP status "
                "server error (500 Internal Server Error)"
            ),
            AttestationRejected,
            "could not prove itself",
        ),
        ("something new", AttestationRejected, "could not establish"),
        ("", AttestationRejected, "could not establish"),
    ],
)
def test_each_text_of_tng_has_its_error(text: str, kind: type[CragError], sentence: str) -> None:
    error = told(text)
    assert isinstance(error, kind)
    assert sentence in error.message
    assert error.hint


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_becomes_one_printable_line_and_never_an_acceptance(text: str) -> None:
    error = told(text)
    assert error.exit_code in (10, 75)
    assert error.message.isprintable()


def test_an_answer_of_tng_that_names_a_request_is_not_repeated() -> None:
    secret = "http://127.0.0.1:8000/rag?q=my-private-question"
    for code in ("HttpCipherTextForwardError", "HttpCipherTextBadResponse"):
        for cause in ("HttpPlainTextForwardError", "other"):
            body = json.dumps({"code": code, "message": f"{cause} for url ({secret})"}).encode()
            error = answer_error(body, service=SERVICE, trustee=TRUSTEE)
            assert error is not None
            assert "private" not in json.dumps(error.as_json())


def test_a_stale_key_is_told_apart() -> None:
    body = json.dumps({"code": "ShouldRequestNewKeyConfigFromServerError", "message": "x"}).encode()
    assert isinstance(answer_error(body, service=SERVICE, trustee=TRUSTEE), StaleKey)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'"x"', b'{"code":1,"message":"x"}', b'{"code":"Other","message":"x"}',
     b'{"error":{"code":"x"}}', b"\xff"],
)  # fmt: skip
def test_an_answer_of_the_service_is_left_alone(body: bytes) -> None:
    assert answer_error(body, service=SERVICE, trustee=TRUSTEE) is None


def test_printable_is_one_line_of_limited_length() -> None:
    assert printable("a\n\tb\x1b[1m") == "a b [1m"
    assert len(printable("x" * 1000)) == 300


def test_the_log_keeps_errors_of_the_start_and_nothing_later() -> None:
    log = StartupLog()
    log.feed(b'{"level":"INFO","fields":{"message":"hello"}}')
    log.feed(b'{"level":"ERROR","fields":{"error":"top\\n\\nCaused by:\\n    port busy"}}')
    assert log.reason() == "top Caused by: port busy"
    log.close()
    log.feed(b'{"level":"ERROR","fields":{"error":"http://x/?q=private"}}')
    log.feed(b"thread 'main' panicked at src/a.rs:1:2:")
    assert "private" not in log.reason()
    assert log.panic == "src/a.rs:1:2"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r'\{"level":"ERROR".{0,30}\}', fullmatch=True))
def test_no_log_line_breaks_the_reader(line: str) -> None:
    assert isinstance(error_of(line), str)
    StartupLog().feed(line.encode("utf-8", "surrogatepass"))


def test_the_status_names_servers_keys_and_tokens() -> None:
    body = b'{"servers":[{"url":"http://a:1/","server_public_key":"ab"},'
    body += b'{"url":"http://b:1/","server_public_key":"cd","server_attestation":"t"}]}'
    first, second = parse_servers(body)
    assert (first.url, first.key, first.token) == ("http://a:1", "ab", "")
    assert (second.url, second.key, second.token) == ("http://b:1", "cd", "t")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"servers":[1]}', b'{"servers":{"a":1}}'])
def test_another_status_is_refused(body: bytes) -> None:
    with pytest.raises(CragError, match="shape"):
        parse_servers(body)
