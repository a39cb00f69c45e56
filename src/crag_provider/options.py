"""The options that say what a service is made of, shared by ``serve``, ``attest`` and ``key push``.

Beside each option stands the name that the vendor guide's ``cai.env`` has for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from crag_core.command import option, session
from crag_core.config import read_secret_file
from crag_core.errors import BadInput, UsageError
from crag_provider import envfile
from crag_provider.evidence_options import OPTIONS as EVIDENCE_OPTIONS
from crag_provider.evidence_options import evidence_settings
from crag_provider.settings import (
    DEFAULT_K,
    MAX_K,
    ROTATION_SECONDS,
    TEXT_MEMORY,
    ProviderSettings,
    checked_embedder,
    checked_llm,
    checked_method,
    local_volume,
)

PATH = click.Path(path_type=Path)


def _load_env_file(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        for name in envfile.apply(envfile.load(value)):
            session(ctx).console.detail(f"{value}: {name} is no setting of crag-provider; ignored.")


def env_file_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--env-file``, read before all other options."""
    return click.option(
        "--env-file",
        type=PATH,
        envvar="CRAG_PROVIDER_ENV_FILE",
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_load_env_file,
        help="Shell assignments such as the vendor guide's cai.env; parsed, never executed.",
    )(function)


_OPTIONS = (
    option("--trustee-url", metavar="URL", help="Your Trustee, which holds the model's key."),
    option("--model-key-id", metavar="KBS-URI", help="The model's key there."),
    option("--alt-trustee-url", metavar="URL", help="The data owner's Trustee; default: yours."),
    option("--alt-key-id", metavar="KBS-URI", help="The owner's data key there."),
    option(
        "--snapshot-id",
        metavar="KBS-URI",
        help="The owner's anchor there; by default -key "
        "at the end of --alt-key-id becomes -snapshot.",
    ),
    option(
        "--require-anchor/--no-require-anchor",
        default=True,
        help="Whether to refuse to start where the owner's Trustee gives no anchor, without which "
        "nobody notices documents rolled back before the start.",
    ),
    option("--data-key-check", metavar="KCV", help="Check value that the data key must have."),
    option("--collection", default="documents", help="The owner's collection."),
    option("--model", "model", type=PATH, metavar="DIR", help="Folder of the encrypted model."),
    option("--model-oss-bucket-path", metavar="PATH", help="The same as a path or file:// URL."),
    option(
        "--model-encryption-method",
        default="gocryptfs",
        metavar="NAME",
        help="How the model is encrypted: gocryptfs.",
    ),
    option(
        "--mount-point",
        setting="model_mount_point",
        type=PATH,
        metavar="DIR",
        help="Where the model's plaintext appears; an empty or new folder.",
    ),
    option(
        "--model-access",
        type=click.Choice(["auto", "fuse", "memory"]),
        default="auto",
        help="Mount the volume, decrypt it into memory, or whichever this machine permits.",
    ),
    option(
        "--llm",
        default="llamacpp",
        metavar="KIND|URL",
        help="llamacpp, vllm, extractive (quotes only), or a server's URL on this machine.",
    ),
    option("--llm-model", default="", metavar="NAME", help="Model to ask a server's URL for."),
    option("--llm-api-key-file", metavar="FILE", help="File with that server's key; - is stdin."),
    option(
        "--llm-style",
        type=click.Choice(["small", "large"]),
        help="How the model is asked and checked; small for llamacpp, large otherwise.",
    ),
    option(
        "--llm-context",
        type=click.IntRange(512, 1 << 20),
        default=2048,
        help="Tokens of a prompt with its answer.",
    ),
    option("--llm-parallel", type=click.IntRange(1, 64), default=2, help="Answers at a time."),
    option("--llm-threads", type=click.IntRange(0, 1024), default=0, help="0: all cores but one."),
    option(
        "-k",
        "--passages",
        "k",
        setting="passages",
        type=click.IntRange(1, MAX_K),
        default=DEFAULT_K,
        help="Passages retrieved for a question.",
    ),
    option(
        "--fetch",
        type=click.IntRange(1, 1000),
        help="Rows that the database returns for re-ranking.",
    ),
    option(
        "--text-memory",
        type=click.IntRange(0, 1 << 20),
        default=TEXT_MEMORY,
        metavar="MIB",
        help="Sealed texts kept in memory; those of a larger collection are fetched each time.",
    ),
    option("--listen", metavar="HOST:PORT", help="Where users' gateways connect."),
    option(
        "--service-port",
        setting="model_service_port",
        type=click.IntRange(1, 65535),
        help="The same as a port on all interfaces.",
    ),
    option(
        "--rotation-seconds",
        type=click.IntRange(2, 3600),
        default=ROTATION_SECONDS,
        help="How long a gateway key is current; a withdrawn verdict counts after twice that.",
    ),
    *EVIDENCE_OPTIONS,
    option(
        "--trustee-ca", type=PATH, metavar="FILE", help="Authorities for https to your Trustee."
    ),
    option("--alt-trustee-ca", type=PATH, metavar="FILE", help="The same for the owner's."),
    option("--trustee-policy", default="", metavar="ID", help="Name of the policy; measured."),
    option("--model-sharing-peer", default="", metavar="PEER", help="Of the guide; has no effect."),
    option(
        "--embedder-url",
        default="",
        metavar="URL",
        help="Embedding server, where the collection was made with one.",
    ),
    option("--embedder-api-key-file", metavar="FILE", help="File with its key; - is stdin."),
)


def provider_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all of these; it gets one argument ``settings: ProviderSettings``."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        taken = {name: kwargs.pop(name) for name in _NAMES}
        return function(*args, settings=_settings(**taken), **kwargs)

    decorated: Callable[..., Any] = wrapper
    for decorate in reversed(_OPTIONS):
        decorated = decorate(decorated)
    return env_file_option(decorated)


def _names() -> tuple[str, ...]:
    command = click.Command("probe")
    probe: Any = lambda: None  # noqa: E731 - click hangs options on a function
    for decorate in reversed(_OPTIONS):
        probe = decorate(probe)
    command.params = list(reversed(probe.__click_params__))
    return tuple(str(parameter.name) for parameter in command.params)


_NAMES = _names()


def _settings(**given: Any) -> ProviderSettings:
    checked_method(given["model_encryption_method"])
    llm = checked_llm(given["llm"])
    if given["model_sharing_peer"]:
        session().console.detail("MODEL_SHARING_PEER has no effect in crag.")
    needs_model = llm in ("llamacpp", "vllm")
    _require(given, needs_model)
    return ProviderSettings(
        trustee_url=given["trustee_url"] or "",
        model_key_id=given["model_key_id"] or "",
        alt_trustee_url=given["alt_trustee_url"] or given["trustee_url"],
        alt_key_id=given["alt_key_id"],
        collection=given["collection"],
        data_key_check=given["data_key_check"] or "",
        snapshot_id=given["snapshot_id"] or "",
        require_anchor=given["require_anchor"],
        volume=_volume(given["model"], given["model_oss_bucket_path"]) if needs_model else None,
        mount_point=given["mount_point"],
        model_access=given["model_access"],
        llm=llm,
        llm_model=given["llm_model"],
        llm_api_key=_key(given["llm_api_key_file"], "model server's key"),
        llm_style=given["llm_style"] or "",
        llm_context=given["llm_context"],
        llm_parallel=given["llm_parallel"],
        llm_threads=given["llm_threads"],
        k=given["k"],
        fetch=given["fetch"],
        text_memory=given["text_memory"],
        listen=_listen(given["listen"], given["service_port"]),
        rotation_seconds=given["rotation_seconds"],
        **evidence_settings(given, needs_model),
        trustee_ca=given["trustee_ca"],
        alt_trustee_ca=given["alt_trustee_ca"],
        trustee_policy=given["trustee_policy"],
        embedder_url=checked_embedder(given["embedder_url"]),
        embedder_api_key=_key(given["embedder_api_key_file"], "embedding server's key"),
    )


def _require(given: dict[str, Any], needs_model: bool) -> None:
    wanted = [("alt_key_id", "--alt-key-id", "ALT_KEY_ID")]
    if needs_model:
        wanted += [
            ("trustee_url", "--trustee-url", "TRUSTEE_URL"),
            ("model_key_id", "--model-key-id", "MODEL_KEY_ID"),
        ]
    elif not given["alt_trustee_url"]:
        wanted.append(("trustee_url", "--alt-trustee-url", "ALT_TRUSTEE_URL"))
    for name, flag, variable in wanted:
        if not given[name]:
            raise UsageError(
                f"The setting {name.replace('_', '-')} is missing.",
                hint=f"Give {flag}, or {variable} in --env-file.",
            )


def _volume(model: Path | None, bucket_path: str | None) -> Path:
    if model is not None:
        return model
    if bucket_path:
        return local_volume(bucket_path)
    raise UsageError(
        "No encrypted model is named.",
        hint="Give --model DIR (made by 'crag-provider model encrypt'), or MODEL_OSS_BUCKET_PATH.",
    )


def _listen(listen: str | None, port: int | None) -> str:
    if listen:
        return listen
    return f"0.0.0.0:{port}" if port else "127.0.0.1:8000"


def _key(path: str | None, what: str) -> str:
    if not path:
        return ""
    try:
        return read_secret_file(path, what).decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadInput(f"The file {path} with the {what} holds no ASCII text.") from None
