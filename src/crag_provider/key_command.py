"""``crag-provider key push``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from crag_core.command import command, console, option
from crag_core.config import home, read_secret_file
from crag_core.errors import BadInput
from crag_core.trustee.admin_options import AdminSettings, admin_options
from crag_provider.options import env_file_option


@command("push")
@env_file_option
@option(
    "--key-file",
    metavar="FILE",
    help="The model's key; - is stdin. By default the only one that 'model encrypt' made.",
)
@option("--model-key-id", metavar="KBS-URI", required=True, help="The key's name in your Trustee.")
@admin_options
def push(key_file: str | None, model_key_id: str, **admin: Any) -> None:
    """Put the model's key into your Trustee.

    Which measured service gets it is another matter: 'crag-provider trustee policy apply'.
    """
    admin["trustee"] = admin["trustee"] or os.environ.get("CRAG_PROVIDER_TRUSTEE_URL")
    from crag_provider.model.opening import usable_password
    from crag_provider.secret import Secret

    with Secret(read_secret_file(key_file or str(_only_key()), "model's key")) as key:
        usable_password(key.buffer)
        with AdminSettings(**admin).client() as client:
            client.set_resource(model_key_id, bytes(key.buffer))
    console().result(
        {"resource": model_key_id, "pushed": True}, f"The model's key is now {model_key_id}."
    )


def _only_key() -> Path:
    folder = home() / "keys"
    found = sorted(folder.glob("model-*.key"))
    if len(found) != 1:
        raise BadInput(
            f"There are {len(found)} model keys in {folder}.",
            hint="Name the one to push with --key-file.",
        )
    return found[0]
