"""openfhe-python: CKKS with the secret key shared by two parties, who open every score together.

The packing is that of `seal_ckks`; the gallery is encrypted under the joint key, and so is the probe.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import openfhe as fhe


def start(gallery: Any, tau: int, scale: int) -> Callable[[Any], tuple[int, int, int, int]]:
    """Keys of both parties, the joint public, multiplication and rotation keys, and the encrypted diagonals."""
    size = 1 << (gallery.shape[1] - 1).bit_length()
    baby = 1 << math.ceil(math.log2(size) / 2)
    parameters = fhe.CCParamsCKKSRNS()
    parameters.SetMultiplicativeDepth(1)
    parameters.SetScalingModSize(40)
    parameters.SetFirstModSize(60)
    parameters.SetScalingTechnique(fhe.FIXEDMANUAL)  # no spare modulus: a ring of 8192
    parameters.SetSecurityLevel(fhe.HEStd_128_classic)
    cc = fhe.GenCryptoContext(parameters)
    features = fhe.PKESchemeFeature
    for feature in (features.PKE, features.KEYSWITCH, features.LEVELEDSHE, features.ADVANCEDSHE, features.MULTIPARTY):
        cc.Enable(feature)
    slots = cc.GetRingDimension() // 2
    steps = [*range(1, baby), *range(baby, size, baby)]

    one = cc.KeyGen()
    two = cc.MultipartyKeyGen(one.publicKey)
    joint = two.publicKey
    tag = joint.GetKeyTag()
    first = cc.KeySwitchGen(one.secretKey, one.secretKey)
    second = cc.MultiKeySwitchGen(two.secretKey, two.secretKey, first)
    both = cc.MultiAddEvalKeys(first, second, tag)
    halves = [cc.MultiMultEvalKey(k.secretKey, both, tag) for k in (one, two)]
    cc.InsertEvalMultKey([cc.MultiAddEvalMultKeys(*halves, tag)])
    cc.EvalAtIndexKeyGen(one.secretKey, steps)
    mine = cc.GetEvalAutomorphismKeyMap(one.secretKey.GetKeyTag())
    theirs = cc.MultiEvalAtIndexKeyGen(two.secretKey, mine, steps, tag)
    cc.InsertEvalAutomorphismKey(cc.MultiAddEvalAutomorphismKeys(mine, theirs, tag))

    def encrypt(values: Any) -> Any:
        return cc.Encrypt(joint, cc.MakeCKKSPackedPlaintext([float(v) for v in values]))

    kept = []
    for i in range(0, len(gallery), slots):
        padded = np.zeros((slots, size))
        padded[: len(gallery[i : i + slots]), : gallery.shape[1]] = gallery[i : i + slots] / scale
        s = np.arange(slots)
        rows = [[encrypt(np.roll(padded[s, (s + g + j) % size], g)) for j in range(baby)] for g in range(0, size, baby)]
        kept.append((rows, encrypt(-(padded**2).sum(axis=1) / 2)))

    sizes: list[int] = []

    def ask(probe: Any) -> tuple[int, int, int, int]:
        padded = np.zeros(size)
        padded[: len(probe)] = probe / scale
        query = encrypt(np.tile(padded, slots // size))
        turned = [query, *(cc.EvalRotate(query, j) for j in range(1, baby))]
        scores: list[float] = []
        for rows, norms in kept:
            total = None
            for i, row in enumerate(rows):
                inner = None
                for x, diagonal in zip(turned, row, strict=True):
                    product = cc.EvalMultNoRelin(x, diagonal)
                    inner = product if inner is None else cc.EvalAdd(inner, product)
                inner = cc.Relinearize(inner)
                inner = cc.EvalRotate(inner, i * baby) if i else inner
                total = inner if total is None else cc.EvalAdd(total, inner)
            total = cc.EvalAdd(cc.Rescale(total), norms)
            lead = cc.MultipartyDecryptLead([total], one.secretKey)
            main = cc.MultipartyDecryptMain([total], two.secretKey)
            opened = cc.MultipartyDecryptFusion([lead[0], main[0]])
            opened.SetLength(slots)
            scores += opened.GetRealPackedValue()
            if not sizes:  # once, not in the time of every question
                sizes.append(_bytes(query))
                sizes.append(len(kept) * (_bytes(total) + _bytes(lead[0])))
        best = int(np.argmax(scores[: len(gallery)]))
        distance = int(probe @ probe) - 2 * scale**2 * scores[best]
        return (best if distance <= tau + 0.5 else -1), sizes[0], 8, sizes[1]

    return ask


def _bytes(cipher: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "c")
        fhe.SerializeToFile(path, cipher, fhe.BINARY)
        return os.path.getsize(path)
