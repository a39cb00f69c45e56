"""The LangChain chain: prompt, model, text. Its model is always on loopback."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from crag_provider.llm.interface import LlmEndpoint
from crag_provider.rag.style import Style

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

LLM_SECONDS = 120.0
# Variables by which the libraries would send or print prompts, or talk to another server.
_TELLTALE = ("LANGCHAIN_", "LANGSMITH_", "OPENAI_", "HTTPX_LOG")


def forbid_tracing() -> None:
    """Make this process one in which no library traces, caches or prints prompts.

    Call it before LangChain is imported for the first time.
    """
    for name in list(os.environ):
        if name.upper().startswith(_TELLTALE):
            del os.environ[name]
    os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"
    from langchain_core.globals import set_debug, set_llm_cache, set_verbose

    set_debug(False)
    set_verbose(False)
    set_llm_cache(None)


def answer_chain(endpoint: LlmEndpoint, style: Style) -> Runnable[dict[str, Any], str]:
    """A runnable from ``{"context", "question"}`` to the answer's text, streaming.

    Nothing is traced, cached or retried, and no proxy of the environment is used.
    """
    import httpx
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    # llama.cpp ends idle connections while httpx still counts on them; new ones are cheap here.
    once = httpx.Limits(max_keepalive_connections=0)
    prompt = ChatPromptTemplate.from_messages([("system", style.system), ("human", style.user)])
    model = ChatOpenAI(
        model=endpoint.model,
        base_url=endpoint.url,
        api_key=SecretStr(endpoint.api_key),
        temperature=0,
        max_completion_tokens=style.max_tokens,
        timeout=LLM_SECONDS,
        max_retries=0,
        cache=False,
        streaming=True,
        http_client=httpx.Client(trust_env=False, limits=once),
        http_async_client=httpx.AsyncClient(trust_env=False, limits=once),
    )
    return prompt | model | StrOutputParser()
