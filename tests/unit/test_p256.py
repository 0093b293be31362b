"""Points of P-256: sums against OpenSSL's multiples, and every form that must be refused."""

from __future__ import annotations

import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pura.crypto import p256
from pura.crypto.p256 import ORDER, P, Point, Scalar
from pura.crypto.rng import SeededRng
from pura.errors import ProtocolError

# NIST's published multiples of the base (2 G, 3 G, 112233445566778899 G)
KNOWN = {
    2: (
        0x7CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC47669978,
        0x07775510DB8ED040293D9AC69F7430DBBA7DADE63CE982299E04B79D227873D1,
    ),
    3: (
        0x5ECBE4D1A6330A44C8F7EF951D4BF165E6C6B721EFADA985FB41661BC6E7FD6C,
        0x8734640C4998FF7E374B06CE1A64A2ECD82AB036384FB83D9A79B127A27D5032,
    ),
    112233445566778899: (
        0x339150844EC15234807FE862A86BE77977DBFB3AE3D96F4C22795513AEAAB82F,
        0xB1C14DDFDC8EC1B2583F51E85A5EB3A155840F2034730E9B5ADA38B674336A21,
    ),
}
G = Scalar(1).point


def root(value):
    y = pow(value, (P + 1) // 4, P)
    return y if y * y % P == value % P else None


def equation(x):
    return (x**3 - 3 * x + p256.B) % P


@pytest.mark.parametrize("k", KNOWN)
def test_multiples_of_the_base(k):
    assert Scalar(k).point == KNOWN[k]


def test_sums_agree_with_multiples():
    rng = SeededRng("sums")
    for _ in range(50):
        i, j = 1 + rng.below(ORDER - 1), 1 + rng.below(ORDER - 1)
        assert p256.add(Scalar(i).point, Scalar(j).point) == Scalar((i + j) % ORDER).point


def test_equal_points_are_doubled_and_opposite_ones_make_the_identity():
    point = Scalar(77).point
    assert p256.add(point, point) == Scalar(154).point
    assert p256.add(G, G) == KNOWN[2]
    assert p256.add(point, p256.negative(point)) is None
    assert p256.negative(point) == Scalar(ORDER - 77).point
    assert p256.add(Scalar(ORDER - 1).point, G) is None


def test_x_of_a_multiple_is_the_same_at_both_ends():
    one, two = Scalar(123456789), Scalar(987654321)
    expected = Scalar(123456789 * 987654321 % ORDER).point.x.to_bytes(32, "big")
    assert one.x_times(two.point) == two.x_times(one.point) == expected


def test_scalars_are_drawn_from_the_whole_range_and_not_shown(monkeypatch):
    class Fixed(SeededRng):
        def below(self, bound):
            assert bound == ORDER - 1
            return self.value

    rng = Fixed(0)
    for rng.value, k in ((0, 1), (ORDER - 2, ORDER - 1)):
        assert Scalar.draw(rng).point == Scalar(k).point
    assert repr(Scalar(5)) == "Scalar(…)"
    with pytest.raises(TypeError):
        pickle.dumps(Scalar(5))


def test_bytes_and_back():
    for k in (1, 2, 3, ORDER - 1):
        point = Scalar(k).point
        raw = p256.dump(point)
        assert len(raw) == p256.POINT_BYTES
        assert p256.load(raw) == point
        assert p256.on_curve(point)


def forms():
    x, y = Scalar(9).point
    word = lambda v: v.to_bytes(32, "big")  # noqa: E731
    yield "empty", b""
    yield "the identity of SEC 1", b"\0"
    yield "the identity, padded", bytes(65)
    yield "compressed", bytes([2 + y % 2]) + word(x)
    yield "hybrid", bytes([6 + y % 2]) + word(x) + word(y)
    yield "short", b"\4" + word(x) + word(y)[:-1]
    yield "long", b"\4" + word(x) + word(y) + b"\0"
    yield "(0, 0)", b"\4" + bytes(64)
    yield "y one off", b"\4" + word(x) + word(y + 1)
    yield "x and y exchanged", b"\4" + word(y) + word(x)
    twist = next(x for x in range(1, 100) if root(equation(x)) is None)
    yield "a point of the twist", b"\4" + word(twist) + word(root(P - equation(twist)) or 0)
    small = next(x for x in range(1, 100) if root(equation(x)) is not None)
    yield "x not reduced", b"\4" + word(small + P) + word(root(equation(small)))
    other = ec.derive_private_key(9, ec.SECP256K1()).public_key().public_numbers()
    yield "a point of secp256k1", b"\4" + word(other.x) + word(other.y)
    low = next(y for y in range(1, 10**4) if cube(y) is not None)
    yield "y not reduced", b"\4" + word(cube(low)) + word(low + P)


def cube(y):
    """Some x with x^3 - 3 x + b = y^2, found by the polynomial's greatest common divisor with x^P - x."""
    poly = [(p256.B - y * y) % P, -3 % P, 0, 1]

    def reduce(a):
        a = a[:]
        while len(a) > 3:
            top = a.pop()
            for i in range(3):
                a[len(a) - 3 + i] = (a[len(a) - 3 + i] - top * poly[i]) % P
        return a

    def times(a, b):
        out = [0] * (len(a) + len(b) - 1)
        for i, u in enumerate(a):
            for j, v in enumerate(b):
                out[i + j] = (out[i + j] + u * v) % P
        return reduce(out)

    power, base, e = [1], [0, 1], P
    while e:
        power, base, e = times(power, base) if e & 1 else power, times(base, base), e >> 1
    d = power + [0] * (3 - len(power))
    d[1] = (d[1] - 1) % P
    a, b = poly, d
    while any(b):
        while b and b[-1] == 0:
            b = b[:-1]
        a = a[:]
        while len(a) >= len(b):
            q = a[-1] * pow(b[-1], -1, P) % P
            for i in range(len(b)):
                a[len(a) - len(b) + i] = (a[len(a) - len(b) + i] - q * b[i]) % P
            a.pop()
        a, b = b, a
    return -a[0] * pow(a[1], -1, P) % P if len(a) == 2 else None


FORMS = dict(forms())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_point_is_refused(form):
    with pytest.raises(ProtocolError):
        p256.load(FORMS[form])


def test_openssl_refuses_them_too():
    """A second wall: a point off the curve does not reach a multiplication."""
    with pytest.raises(ValueError):
        Scalar(3).x_times(Point(G.x, G.y + 1))


def test_the_forms_that_are_not_reduced_are_points_when_reduced():
    for form in ("x not reduced", "y not reduced"):
        raw = FORMS[form]
        x, y = int.from_bytes(raw[1:33], "big") % P, int.from_bytes(raw[33:], "big") % P
        assert p256.on_curve(Point(x, y))
