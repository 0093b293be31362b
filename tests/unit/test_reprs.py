"""Nothing that holds a share, a mask, a plaintext, a template or a key prints it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import pura.crypto
import pura.protocols
import pura.rounds
from pura.bigint import FixedBase, Z
from pura.crypto.rng import SeededRng
from pura.crypto.seal import SealKey
from pura.crypto.threshold import KeySet, KeyShare, generate
from pura.ids import Party
from pura.params import Params
from pura.protocols.prepared.client import SealedSession
from pura.protocols.prepared.side import Side
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.template import Mask, MaskedTemplates
from pura.protocols.published.batch_square import Asked
from pura.protocols.published.side import Side as PublishedSide
from pura.protocols.published.smin import Candidate
from pura.protocols.published.tuples import OneTime, SmulTuple, make_smul_tuple
from pura.rounds import Done, Send

PRINTED = {
    # public by nature
    "Strength",
    "PublicKey",
    "Need",
    "Verifier",
    "LatticeParams",
    "Sizes",
    "Scope",
    "Proven",
    "Contest",
    "Cost",
    "Split",
    "Limit",
    "Rule",
    "Tally",
    "Traffic",
    "Receive",
    # hold secrets in parts that do not print themselves; looked at below
    "Send",
    "Side",
}
"""The dataclasses whose generated repr shows their fields. A class that holds anything else needs repr=False."""


def test_every_other_dataclass_hides_its_fields() -> None:
    found = set()
    for package in (pura.crypto, pura.protocols):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            found |= {c for _, c in inspect.getmembers(importlib.import_module(info.name), inspect.isclass)}
    found |= {c for _, c in inspect.getmembers(pura.rounds, inspect.isclass)}
    shown = {c for c in found if dataclasses.is_dataclass(c) and _generated(c) and c.__module__ != "pura.params"}
    assert {c.__name__ for c in shown} <= PRINTED


def _generated(kind: type) -> bool:
    """Whether the repr is the one that lists all fields: it is then wrapped by dataclasses."""
    return hasattr(kind.__repr__, "__wrapped__")


KEYS = generate(2048, SeededRng("reprs"))
PARAMS = Params(KEYS.public.key_id, 2048)
MARK = 0xDEAD_BEEF_CAFE_F00D_DEAD_BEEF
"""What is looked for, in decimal and in hexadecimal."""


HOLDERS = [
    KeyShare(Party.S1, KEYS.public.key_id, Z(MARK)),
    KeySet(
        KEYS.public, KeyShare(Party.S1, KEYS.public.key_id, Z(MARK)), KeyShare(Party.S2, KEYS.public.key_id, Z(MARK))
    ),
    Mask(np.array([MARK % 2**64], np.uint64), (Z(MARK),)),
    Asked([[Z(MARK)]], [MARK]),
    Candidate(Z(MARK), Z(MARK)),
    SmulTuple(MARK, MARK, Z(MARK), Z(MARK), Z(MARK)),
    OneTime(MARK),
    Done(MARK),
    FixedBase(MARK, MARK + 2, 8),
    Side(KEYS.public, KeyShare(Party.S1, KEYS.public.key_id, Z(MARK)), PARAMS, SeededRng(MARK)),
    PublishedSide.new(KEYS.public, KeyShare(Party.S1, KEYS.public.key_id, Z(MARK)), PARAMS, SeededRng(MARK), zeros=1),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda h: type(h).__name__)
def test_nothing_is_shown(holder: object) -> None:
    for shown in (repr(holder), str(holder), f"{[holder]}", f"{Done(holder)!r}"):
        assert str(MARK) not in shown
        assert f"{MARK:x}" not in shown


def test_what_is_made_at_random_is_not_shown_either() -> None:
    rng = SeededRng("shown")
    key, session = SealKey(rng), SealedSession.new(rng)
    private = key._private.private_bytes_raw()
    for shown in (repr(key), repr(session), repr(rng), f"{Send(MaskedTemplates(b'beef', b''))!r}"):
        assert private.hex() not in shown
        assert str(private) not in shown
        assert "beef" not in shown
    one = make_smul_tuple(KEYS.public, 0, 100, rng)
    assert str(one.r1) not in repr(one)
    drawn = Mask.draw(KEYS.public, Sizes.of(PARAMS), rng)
    assert str(drawn.digits[0]) not in repr(drawn)
