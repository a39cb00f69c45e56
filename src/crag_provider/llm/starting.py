"""Bring up the language model that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from crag_provider.llm.interface import LlmEndpoint
from crag_provider.model.opening import OpenModel
from crag_provider.settings import ProviderSettings


@contextlib.contextmanager
def started_llm(
    settings: ProviderSettings, model: OpenModel | None
) -> Iterator[LlmEndpoint | None]:
    """The model's endpoint for one block; None for ``extractive``, which needs none.

    Raises:
        NotSupported, BadInput, Unreachable, CragError: as the kinds of servers say.
    """
    with contextlib.ExitStack() as stack:
        if settings.llm == "extractive":
            yield None
        elif settings.llm == "llamacpp" and model is not None:
            from crag_provider.llm.llamacpp import LlamaLimits, llamacpp

            limits = LlamaLimits(
                settings.llm_context,
                settings.llm_parallel,
                settings.style.max_tokens,
                settings.llm_threads,
            )
            yield stack.enter_context(llamacpp(model, limits))
        elif settings.llm == "vllm" and model is not None:
            from crag_provider.llm.vllm import vllm

            yield stack.enter_context(vllm(model, settings.llm_context))
        else:
            from crag_provider.llm.external import external

            yield external(settings.llm, settings.llm_model, settings.llm_api_key)
