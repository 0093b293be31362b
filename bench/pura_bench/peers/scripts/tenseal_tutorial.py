"""TenSEAL as its tutorials use it: one CKKS vector for each entry, squared Euclidean distance by a dot product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tenseal


def start(gallery: Any, tau: int, scale: int) -> Callable[[Any], tuple[int, int, int, int]]:
    """Keys, and one ciphertext for each entry."""
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    context.global_scale = 2**40
    context.generate_galois_keys()
    entries = [tenseal.ckks_vector(context, list(map(float, y / scale))) for y in gallery]

    sizes: list[int] = []

    def ask(probe: Any) -> tuple[int, int, int, int]:
        query = tenseal.ckks_vector(context, list(map(float, probe / scale)))
        answers = []
        for entry in entries:
            difference = query - entry
            answers.append(difference.dot(difference))
        distances = np.array([answer.decrypt()[0] for answer in answers]) * scale**2
        best = int(np.argmin(distances))
        if not sizes:  # once, not in the time of every question
            sizes.extend((len(query.serialize()), len(answers[0].serialize()) * len(answers)))
        return (best if distances[best] <= tau + 0.5 else -1), sizes[0], sizes[1], 0

    return ask
