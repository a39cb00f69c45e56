"""What a service is made of: the settings of ``serve`` and ``attest``, typed and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crag_core.config import home
from crag_core.errors import NotSupported, UsageError
from crag_provider.rag.style import LARGE, SMALL, STYLES, Style

# No names: whoever answers for "localhost" could be elsewhere.
LOOPBACK = ("127.0.0.1", "::1")
LLM_KINDS = ("llamacpp", "extractive", "vllm")
DEFAULT_K = 5
MAX_K = 20
TEXT_MEMORY = 1024
ROTATION_SECONDS = 30
AGENT_URL = "http://127.0.0.1:8006"
SYS_ROOT = Path("/sys")


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """The effective settings.

    Args:
        trustee_url: the provider's Trustee, which holds the model's key ``model_key_id``.
        alt_trustee_url: the owner's Trustee, which holds the data key ``alt_key_id``.
        data_key_check: pinned check value of the data key (``kcv1:...``), or empty.
        snapshot_id: the owner's anchor in the owner's Trustee; derived from ``alt_key_id``.
        require_anchor: whether a missing anchor is a failure.
        volume: folder of the encrypted model.
        llm: one of :data:`LLM_KINDS`, or the URL of an OpenAI-compatible server on loopback.
        k: passages retrieved for a question; ``fetch``: rows the database returns for re-ranking.
        text_memory: MiB of sealed texts kept in memory in search mode ``database``.
        evidence: ``auto``, ``tdx``, ``agent`` or ``sample``; ``agent_url``: the agent's interface.
        gpu_evidence: ``require``, ``if-present`` or ``none``.
        event_log: ``ccel`` or ``text``, how the kernel's extensions are logged.
        key_source: ``kbs``, or ``cdh`` for the agent's confidential data hub (``cdh_config``).
        sys_root: where the kernel's sysfs and configfs are.
    """

    trustee_url: str
    model_key_id: str
    alt_trustee_url: str
    alt_key_id: str
    collection: str
    data_key_check: str = ""
    snapshot_id: str = ""
    require_anchor: bool = True
    volume: Path | None = None
    mount_point: Path | None = None
    model_access: str = "auto"
    llm: str = "llamacpp"
    llm_model: str = ""
    llm_api_key: str = field(default="", repr=False)
    llm_style: str = ""
    llm_context: int = 2048
    llm_parallel: int = 2
    llm_threads: int = 0
    k: int = DEFAULT_K
    fetch: int | None = None
    text_memory: int = TEXT_MEMORY
    listen: str = "127.0.0.1:8000"
    rotation_seconds: int = ROTATION_SECONDS
    insecure_sample_evidence: bool = False
    evidence: str = "auto"
    agent_url: str = AGENT_URL
    gpu_evidence: str = "if-present"
    event_log: str = "ccel"
    key_source: str = "kbs"
    cdh_config: Path | None = None
    sys_root: Path = SYS_ROOT
    trustee_ca: Path | None = None
    alt_trustee_ca: Path | None = None
    trustee_policy: str = ""
    embedder_url: str = ""
    embedder_api_key: str = field(default="", repr=False)

    @property
    def style(self) -> Style:
        """How the model is asked: a small one for llama.cpp, a large one otherwise."""
        if self.llm_style:
            return STYLES[self.llm_style]
        return SMALL if self.llm == "llamacpp" else LARGE

    @property
    def needs_model(self) -> bool:
        """Whether the answers come from a model in an encrypted volume."""
        return self.llm in ("llamacpp", "vllm")

    @property
    def anchor_id(self) -> str:
        """Where the owner's anchor is: ``...-key`` becomes ``...-snapshot``."""
        return self.snapshot_id or self.alt_key_id.removesuffix("-key") + "-snapshot"

    @property
    def opened_at(self) -> Path:
        """Where the model's plaintext appears."""
        return self.mount_point or home() / "provider" / "model"

    def measured(self) -> dict[str, Any]:
        """The settings that decide what the service does with documents, questions and keys.

        No address of the service itself, no path, no database: they are untrusted anyway, and may
        change without anything else changing.
        """
        return {
            "llm": {
                "kind": self.llm if self.llm in LLM_KINDS else "url",
                "url": "" if self.llm in LLM_KINDS else self.llm,
                "model": self.llm_model,
                "style": self.style.name,
                "prompt": self.style.digest(),
                "support": f"{self.style.needed:g}",
                "max_tokens": self.style.max_tokens,
                "context_tokens": self.llm_context,
            },
            "embedder_url": self.embedder_url,
            "collection": self.collection,
            "retrieval": {"k": self.k, "max_k": MAX_K, "fetch": self.fetch or 0},
            "model_key": {"trustee": self.trustee_url, "id": self.model_key_id},
            "data_key": {
                "trustee": self.alt_trustee_url,
                "id": self.alt_key_id,
                "check": self.data_key_check,
                "snapshot": self.anchor_id,
                "snapshot_required": self.require_anchor,
            },
            "gateway": {"mode": "ohttp", "rotation_seconds": self.rotation_seconds},
            "policy": self.trustee_policy or "default",
            "insecure_sample_evidence": self.insecure_sample_evidence,
            # Which of the machine's interfaces makes the evidence is not measured: whoever
            # verifies it sees what it is. Whether GPUs must attest, and who fetches keys, is.
            "gpu_evidence": self.gpu_evidence,
            "key_source": self.key_source,
        }


def checked_llm(text: str) -> str:
    """``text`` where it names a kind of model server, or a server on loopback.

    Raises:
        UsageError: neither.
        NotSupported: a server outside this machine, which would see the passages in plaintext.
    """
    if text in LLM_KINDS:
        return text
    try:
        split = urlsplit(text)
        host, scheme = split.hostname, split.scheme
    except ValueError:
        host, scheme = None, ""
    if not host or scheme not in ("http", "https") or split.username or split.query:
        raise UsageError(
            f"{text!r} is no way to run a model.",
            hint=f"Use {', '.join(LLM_KINDS)}, or the URL of a server such as "
            "http://127.0.0.1:8001/v1.",
        )
    if host not in LOOPBACK:
        raise NotSupported(
            f"The model server {host} is outside this machine and would see the documents.",
            hint="Run the model inside the confidential machine: --llm llamacpp or --llm vllm.",
        )
    return text.rstrip("/")


def checked_embedder(url: str) -> str:
    """``url`` where it is empty or on loopback.

    Raises:
        UsageError: it is no URL.
        NotSupported: a server outside this machine, which would read every question.
    """
    if not url:
        return ""
    try:
        split = urlsplit(url)
        host, scheme = split.hostname, split.scheme
    except ValueError:
        host, scheme = None, ""
    if not host or scheme not in ("http", "https"):
        raise UsageError(
            "The embedding server's address is no http or https URL.",
            hint="For example --embedder-url http://127.0.0.1:8002/v1.",
        )
    if host not in LOOPBACK:
        raise NotSupported(
            f"The embedding server {host} is outside this machine and would read every question.",
            hint="Run it inside the confidential machine, and name it as http://127.0.0.1:PORT/v1.",
        )
    return url


def checked_method(method: str) -> None:
    """Refuse a MODEL_ENCRYPTION_METHOD that only the vendor's tool can open.

    Raises:
        NotSupported: ``sam``, or anything but ``gocryptfs``.
    """
    if method == "sam":
        raise NotSupported(
            "MODEL_ENCRYPTION_METHOD=sam is Alibaba Cloud's Sam format, which only Alibaba Cloud's "
            "Sam toolkit (the RAI_SAM SDK) opens.",
            hint="Serve it with that toolkit, or encrypt the model anew with "
            "'crag-provider model encrypt' and set MODEL_ENCRYPTION_METHOD=gocryptfs.",
        )
    if method != "gocryptfs":
        raise NotSupported(
            "MODEL_ENCRYPTION_METHOD names an unknown method.", hint="Use gocryptfs."
        )


def local_volume(bucket_path: str) -> Path:
    """The folder that MODEL_OSS_BUCKET_PATH names: a path or a ``file://`` URL.

    Raises:
        NotSupported: it names a bucket of an object storage.
    """
    split = urlsplit(bucket_path)
    if split.scheme == "file" and split.netloc in ("", "localhost"):
        return Path(split.path)
    local = bucket_path.startswith(("/", "./", "../", "~"))
    if split.scheme or not (local or Path(bucket_path).is_dir()):
        raise NotSupported(
            "MODEL_OSS_BUCKET_PATH names an object storage; fetching a model from one comes with "
            "a later release of crag.",
            hint="Copy the encrypted volume here and name its folder with --model DIR, or as "
            "MODEL_OSS_BUCKET_PATH=file:///path.",
        )
    return Path(bucket_path).expanduser()
