"""Points of P-256 (NIST SP 800-186, 3.2.1.3): strict bytes, sums, and multiples.

    y^2 = x^3 - 3 x + b  modulo p

The group has prime order n, so every point but the identity generates it: there is no small subgroup to look for.
OpenSSL multiplies; it gives out the whole point for multiples of the base, and x alone for others. It does not add
points, which takes one inversion modulo p in Python.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from pura.crypto.rng import Rng
from pura.crypto.secret import Secret
from pura.errors import ProtocolError

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

COORDINATE_BYTES = 32
POINT_BYTES = 1 + 2 * COORDINATE_BYTES
"""An uncompressed point: 04, x, y, as in SEC 1, 2.3.3."""

_CURVE = ec.SECP256R1()
_HEAD = b"\x04"


class Point(NamedTuple):
    """A point that is not the identity."""

    x: int
    y: int


def on_curve(point: Point) -> bool:
    """Whether the coordinates are reduced and fulfil the equation."""
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x - 3) * x - B) % P == 0


def dump(point: Point) -> bytes:
    """The point's 65 bytes."""
    return _HEAD + point.x.to_bytes(COORDINATE_BYTES, "big") + point.y.to_bytes(COORDINATE_BYTES, "big")


def load(raw: bytes) -> Point:
    """The point of exactly these 65 bytes.

    Raises `ProtocolError` for another length or form, a coordinate from p on, or a point off the curve. The identity
    has no such form.
    """
    if len(raw) != POINT_BYTES or raw[:1] != _HEAD:
        raise ProtocolError(detail="form of a point")
    middle = 1 + COORDINATE_BYTES
    point = Point(int.from_bytes(raw[1:middle], "big"), int.from_bytes(raw[middle:], "big"))
    if not on_curve(point):
        raise ProtocolError(detail="a point off the curve")
    return point


def negative(point: Point) -> Point:
    """-P. No point of the curve has y = 0, since n is odd."""
    return Point(point.x, P - point.y)


def add(one: Point, two: Point) -> Point | None:
    """The sum; None is the identity. Equal points are doubled."""
    if one.x == two.x:
        if one.y != two.y:
            return None
        slope = 3 * (one.x * one.x - 1) * pow(2 * one.y, -1, P) % P
    else:
        slope = (two.y - one.y) * pow(two.x - one.x, -1, P) % P
    x = (slope * slope - one.x - two.x) % P
    return Point(x, (slope * (one.x - x) - one.y) % P)


class Scalar(Secret):
    """A secret k in [1, n), and the point k G."""

    def __init__(self, k: int) -> None:
        self._key = ec.derive_private_key(k, _CURVE)
        numbers = self._key.public_key().public_numbers()
        self.point = Point(numbers.x, numbers.y)

    @classmethod
    def draw(cls, rng: Rng) -> Scalar:
        """A uniform one."""
        return cls(1 + rng.below(ORDER - 1))

    def x_times(self, point: Point) -> bytes:
        """x of k P, 32 bytes. P is on the curve, or OpenSSL raises `ValueError`."""
        return self._key.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(point.x, point.y, _CURVE).public_key())
