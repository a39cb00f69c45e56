"""The vector cipher: scheme ``sapr-v1``, scale and perturb behind a secret rotation.

Approximate distance-comparison-preserving encryption after Fuchsbauer, Ghosal, Hauke, O'Neill
(SCN 2022, IACR ePrint 2021/1666). ``docs/reference/formats.md`` has the exact bytes and
``docs/decisions/0001-vector-scheme.md`` says what it protects and what it does not.
"""

from __future__ import annotations

from crag_core.vectors.cipher import SCHEME, SCHEME_VERSION, SealedVectors, VectorCipher

__all__ = ["SCHEME", "SCHEME_VERSION", "SealedVectors", "VectorCipher"]
