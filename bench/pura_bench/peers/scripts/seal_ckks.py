"""SEAL's CKKS by tenseal.sealapi, packed as well as it can be: diagonals, baby steps and giant steps, N = 4096.

The probe lies in the slots with period D; slot s of diagonal k of a block holds y_s[(s + k) mod D], so that

    sum_k rot(x, k) * diagonal_k = (<x, y_s>)_s    for 2048 entries s at once,

in sqrt(D) baby rotations and sqrt(D) giant ones. The client holds the key, decrypts every score, and picks the nearest.
The gallery is plaintext here; `seal_ckks_encrypted` keeps it under the client's key too.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tenseal.sealapi as seal

DEGREE = 4096
MODULUS = [36, 36, 37]
SCALE = 2.0**30


def start(gallery: Any, tau: int, scale: int, *, encrypted: bool = False) -> Callable[[Any], tuple[int, int, int, int]]:
    """Keys, and the gallery's diagonals."""
    size = 1 << (gallery.shape[1] - 1).bit_length()
    baby = 1 << math.ceil(math.log2(size) / 2)
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(DEGREE)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(DEGREE, MODULUS))
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    keys = seal.KeyGenerator(context)
    rotations = seal.GaloisKeys()
    steps = [*range(1, baby), *range(baby, size, baby)]
    keys.create_galois_keys([pow(3, step, 2 * DEGREE) for step in steps], rotations)
    relinearisation = seal.RelinKeys()
    keys.create_relin_keys(relinearisation)
    public = seal.PublicKey()
    keys.create_public_key(public)
    encryptor = seal.Encryptor(context, public, keys.secret_key())
    decryptor = seal.Decryptor(context, keys.secret_key())
    evaluator, encoder = seal.Evaluator(context), seal.CKKSEncoder(context)
    slots = encoder.slot_count()

    def encode(values: Any, at: float) -> Any:
        plain = seal.Plaintext()
        encoder.encode([float(v) for v in values], at, plain)
        return plain

    def keep(values: Any, at: float) -> Any:
        plain = encode(values, at)
        if not encrypted:
            return plain
        cipher = seal.Ciphertext()
        encryptor.encrypt(plain, cipher)
        return cipher

    blocks = [_diagonals(gallery[i : i + slots] / scale, size, baby, slots) for i in range(0, len(gallery), slots)]
    kept = [([[keep(d, SCALE) for d in row] for row in rows], keep(norms, SCALE**2)) for rows, norms in blocks]
    times = evaluator.multiply if encrypted else evaluator.multiply_plain
    plus = evaluator.add_inplace if encrypted else evaluator.add_plain_inplace

    sizes: list[int] = []

    def ask(probe: Any) -> tuple[int, int, int, int]:
        padded = np.zeros(size)
        padded[: len(probe)] = probe / scale
        query = seal.Ciphertext()
        encryptor.encrypt_symmetric(encode(np.tile(padded, slots // size), SCALE), query)
        turned = [query]
        for j in range(1, baby):
            turned.append(seal.Ciphertext())
            evaluator.rotate_vector(query, j, rotations, turned[-1])
        answers = []
        for rows, norms in kept:
            total = None
            for i, row in enumerate(rows):
                inner = None
                for x, diagonal in zip(turned, row, strict=True):
                    product = seal.Ciphertext()
                    times(x, diagonal, product)
                    if inner is None:
                        inner = product
                    else:
                        evaluator.add_inplace(inner, product)
                if encrypted:
                    evaluator.relinearize_inplace(inner, relinearisation)
                if i:
                    evaluator.rotate_vector_inplace(inner, i * baby, rotations)
                if total is None:
                    total = inner
                else:
                    evaluator.add_inplace(total, inner)
            plus(total, norms)
            answers.append(total)
        if not sizes:  # once, not in the time of every question; half of a fresh symmetric ciphertext is a seed
            sizes.extend((_bytes(query) // 2, sum(map(_bytes, answers))))
        scores = []
        for answer in answers:
            plain = seal.Plaintext()
            decryptor.decrypt(answer, plain)
            scores += encoder.decode_double(plain)
        best = int(np.argmax(scores[: len(gallery)]))
        distance = int(probe @ probe) - 2 * scale**2 * scores[best]
        return (best if distance <= tau + 0.5 else -1), sizes[0], sizes[1], 0

    return ask


def _diagonals(entries: Any, size: int, baby: int, slots: int) -> tuple[list[list[Any]], Any]:
    """Rows of diagonals, row i turned back by i baby steps, and -||y||^2 / 2 in every slot."""
    padded = np.zeros((slots, size))
    padded[: len(entries), : entries.shape[1]] = entries
    s = np.arange(slots)
    rows = [
        [np.roll(padded[s, (s + i + j) % size], i) for j in range(baby)] for i in range(0, size, baby)
    ]  # fmt: skip
    return rows, -(padded**2).sum(axis=1) / 2


def _bytes(cipher: Any) -> int:
    """Its serialised size."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "c")
        cipher.save(path)
        return os.path.getsize(path)
