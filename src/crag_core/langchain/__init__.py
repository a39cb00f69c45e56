"""LangChain's vector store over an encrypted collection.

    store = EncryptedVectorStore.open(database, "notes", master_key, embeddings)
    store.add_texts(["..."], [{"team": "sales"}])
    store.as_retriever(search_kwargs={"k": 4, "filter": {"team": "sales"}})

Embedding, encryption and decryption happen in this process; the database holds what every encrypted
collection holds (``docs/reference/database.md``).
"""

from __future__ import annotations

from crag_core.langchain.vectorstore import EncryptedVectorStore

__all__ = ["EncryptedVectorStore"]
