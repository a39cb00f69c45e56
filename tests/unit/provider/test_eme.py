"""EME: a permutation under key and tweak that spreads every bit over the whole name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_provider.model.eme import Eme

blocks = st.integers(1, 16).flatmap(lambda n: st.binary(min_size=16 * n, max_size=16 * n))
sixteen = st.binary(min_size=16, max_size=16)


@settings(deadline=None, max_examples=40)
@given(key=st.binary(min_size=32, max_size=32), tweak=sixteen, data=blocks)
def test_what_is_encrypted_decrypts(key: bytes, tweak: bytes, data: bytes) -> None:
    eme = Eme(key)
    sealed = eme.encrypt(tweak, data)
    assert len(sealed) == len(data)
    assert eme.decrypt(tweak, sealed) == data


@settings(deadline=None, max_examples=40)
@given(tweak=sixteen, data=blocks, where=st.integers(min_value=0))
def test_one_changed_bit_changes_every_block(tweak: bytes, data: bytes, where: int) -> None:
    eme = Eme(bytes(range(32)))
    at = where % (len(data) * 8)
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    one, other = eme.encrypt(tweak, data), eme.encrypt(tweak, bytes(changed))
    assert all(one[i : i + 16] != other[i : i + 16] for i in range(0, len(one), 16))


@pytest.mark.parametrize(("tweak", "data"), [(15, 16), (16, 0), (16, 17), (16, 16 * 129)])
def test_other_lengths_are_refused(tweak: int, data: int) -> None:
    with pytest.raises(ValueError, match="128 blocks"):
        Eme(bytes(32)).encrypt(bytes(tweak), bytes(data))
