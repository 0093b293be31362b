"""Lattice reduction in plain integers, for attacks in small dimensions (Cohen, Computational Algebraic Number Theory,
algorithm 2.6.7)."""

from __future__ import annotations


def lll(basis: list[list[int]]) -> list[list[int]]:
    """An LLL-reduced basis (delta = 3/4) of the lattice of independent rows."""
    b = [list(row) for row in basis]
    n = len(b)
    d = [1] + [0] * n  # d[i + 1]: the Gram determinant of the first i + 1 rows
    lam = [[0] * n for _ in range(n)]

    def dot(x: list[int], y: list[int]) -> int:
        return sum(p * q for p, q in zip(x, y, strict=True))

    def reduce(k: int, i: int) -> None:
        if 2 * abs(lam[k][i]) <= d[i + 1]:
            return
        r = (2 * lam[k][i] + d[i + 1]) // (2 * d[i + 1])
        b[k] = [x - r * y for x, y in zip(b[k], b[i], strict=True)]
        lam[k][i] -= r * d[i + 1]
        for j in range(i):
            lam[k][j] -= r * lam[i][j]

    def swap(k: int, known: int) -> None:
        b[k], b[k - 1] = b[k - 1], b[k]
        for j in range(k - 1):
            lam[k][j], lam[k - 1][j] = lam[k - 1][j], lam[k][j]
        mu = lam[k][k - 1]
        new = (d[k - 1] * d[k + 1] + mu * mu) // d[k]
        for i in range(k + 1, known + 1):
            t = lam[i][k]
            lam[i][k] = (d[k + 1] * lam[i][k - 1] - mu * t) // d[k]
            lam[i][k - 1] = (new * t + mu * lam[i][k]) // d[k + 1]
        d[k] = new

    d[1] = dot(b[0], b[0])
    k, known = 1, 0
    while k < n:
        if k > known:
            known = k
            for j in range(k + 1):
                u = dot(b[k], b[j])
                for i in range(j):
                    u = (d[i + 1] * u - lam[k][i] * lam[j][i]) // d[i]
                if j < k:
                    lam[k][j] = u
                else:
                    d[k + 1] = u
        reduce(k, k - 1)
        if 4 * d[k + 1] * d[k - 1] < 3 * d[k] ** 2 - 4 * lam[k][k - 1] ** 2:
            swap(k, known)
            k = max(1, k - 1)
        else:
            for i in reversed(range(k - 1)):
                reduce(k, i)
            k += 1
    return b
