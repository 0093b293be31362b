"""The published split of the key falls to one server; ours does not."""

from __future__ import annotations

from pathlib import Path

from pura.attack import keysplit
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SystemRng
from pura.ids import Party

FIXTURES = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"


def test_attack_published_split_gives_s2_the_other_share() -> None:
    rng = SystemRng()
    keys = keysplit.published_keys(512, rng)
    assert keysplit.recover_sk1(keys.n, keys.sk2) == keys.sk1
    for m in (0, 1, 12345, -7):
        c = keysplit.published_encrypt(keys.n, m, rng)
        assert keysplit.decrypt_alone(keys.n, keys.sk2, c) == m


def test_attack_on_our_split_opens_nothing() -> None:
    rng = SystemRng()
    pk = load_public(FIXTURES / "public.key")
    ciphertexts = [pk.encrypt(m, rng) for m in (0, 12345)]
    for party, name in ((Party.S1, "s1.share"), (Party.S2, "s2.share")):
        share = load_share(FIXTURES / name, pk, party)
        assert keysplit.decrypt_ours_alone(pk, share, ciphertexts) == [None, None]
