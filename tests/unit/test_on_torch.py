"""The arithmetic by torch gives what numpy's gives, bit for bit; here on the processor, where a GPU takes its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lattice_bench import Bench
from pair import LatticePair, templates

from pura.crypto.rlwe.evaluator import Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import DIGIT_BITS, RESIDUE_BYTES, SLOTS, LatticeParams
from pura.crypto.rng import SeededRng
from pura.errors import BadArithmetic, BadConfig, ProtocolError
from pura.ids import BlockId
from pura.protocols.prepared.arithmetic import NUMPY, OnNumpy
from pura.protocols.prepared.blocks import Block
from pura.protocols.prepared.correlations import MaskedBlock

torch = pytest.importorskip("torch", reason="the extra `gpu` is not installed")

from pura.crypto.rlwe import on_torch as lattice  # noqa: E402
from pura.protocols.prepared.on_torch import OnTorch  # noqa: E402

Both = tuple[OnNumpy, OnTorch]


@pytest.fixture(scope="module")
def both() -> Both:
    return NUMPY, OnTorch("cpu")


def keepers(both: Both, params: LatticeParams) -> list[Keeper]:
    """The same key on both."""
    return [one.keeper(params, bytes(32), SeededRng("key")) for one in both]


@pytest.mark.parametrize(("bits", "dimension", "rows"), [(17, 128, 11), (21, 40, 1), (10, 16, 8)])
def test_rows_and_openings_are_the_same(both: Both, bits: int, dimension: int, rows: int) -> None:
    bench = Bench(bits, dimension)
    body, w = bench.encrypted(), bench.numbers((rows, dimension))
    made = []
    for one, keeper in zip(both, keepers(both, bench.params), strict=True):
        body = keeper.encrypt(bench.a_seed, bench.b, SeededRng("b"))
        ciphertexts = one.ciphertexts(bench.params, BlockId(0))
        half = dimension // 2
        size = half * bench.params.pieces
        for at in (0, half):  # in two messages, of one seed each
            part = keeper.encrypt(bench.a_seed, bench.b[at : at + half], SeededRng(at))
            assert len(part) == size * SLOTS * RESIDUE_BYTES
            ciphertexts.load(at, bench.a_seed, part, half)
        evaluator = one.evaluator(bench.params, bytes(32), keeper.public)
        made.append((body, keeper.public, *evaluator.rows(w, ciphertexts, SeededRng("rows"))))
    for ours, theirs in zip(*made, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    answer, share = made[0][2:]
    for keeper in keepers(both, bench.params):
        total = keeper.open(answer, rows).astype(np.uint64) + share - w @ bench.b.astype(np.uint64)
        assert not (total & np.uint64((1 << bits) - 1)).any()


def test_the_largest_sums_are_exact() -> None:
    """Ciphertexts that an honest keeper never makes, every digit and every number at its bound."""
    params, largest = LatticeParams.of(17, 1024), 1 << DIGIT_BITS - 1
    held = lattice.TorchCiphertexts(params, torch.device("cpu"))
    for at in range(0, 1024, 128):
        held.load(at, bytes(32), bytes(128 * SLOTS * RESIDUE_BYTES), 128)
    w = torch.full((1, 1024), -(2.0 ** (params.piece_bits - 1)), dtype=torch.float64)
    assert (held.sums(w, 0) == 1024 * (largest << params.piece_bits - 1)).all()


@pytest.mark.parametrize(("bits", "dimension"), [(17, 128), (21, 512), (10, 16)])
def test_products_and_sums_are_the_same(both: Both, bits: int, dimension: int) -> None:
    rng = np.random.default_rng(bits)
    edge = np.array([0, 1, (1 << bits - 1) - 1, 1 << bits - 1, (1 << bits) - 1])

    def numbers(*shape: int) -> np.ndarray:
        drawn = rng.integers(0, 1 << bits, shape)
        return np.where(rng.random(shape) < 0.5, rng.choice(edge, shape), drawn).astype(np.uint32)

    blocks = [Block(MaskedBlock(BlockId(i), 0), numbers(SLOTS, dimension), numbers(SLOTS, dimension)) for i in range(2)]
    blocks[0].e[0] = blocks[0].y[0] = 1 << bits - 1  # the largest when centred
    wide = rng.integers(0, 1 << 63, (3, dimension)).astype(np.uint64)  # only the low bits count
    own = [one.own_products(wide, blocks[0].e, bits) for one in both]
    expected = (wide @ blocks[0].e.T.astype(np.uint64)) & np.uint64((1 << bits) - 1)
    for got in own:
        np.testing.assert_array_equal(got, expected)
    a, d = numbers(dimension).astype(np.uint64), np.full(dimension, 1 << bits - 1, np.uint64)
    sums = [one.sums(blocks, a, d, bits) for one in both]
    e, y = (np.concatenate([getattr(b, part) for b in blocks]).astype(np.uint64) for part in ("e", "y"))
    for got in sums:
        assert got.dtype == np.uint32
        np.testing.assert_array_equal(got, (e @ a + y @ d) & np.uint64((1 << bits) - 1))


class TorchPair(LatticePair):
    """S1 multiplies with torch, S2 with numpy."""

    def open_s1(self) -> None:
        self.options["arithmetic"] = OnTorch("cpu")
        super().open_s1()


def test_two_servers_one_with_torch(tmp_path: Path) -> None:
    """Templates enrolled, asked and erased: the answers are plain integers'."""
    pair = TorchPair(tmp_path, dimension=16, tau=20_000, packs=2, light_packs=0)
    pair.connect()
    ys = templates(pair.params, 12)
    pair.enroll(ys)
    pair.refill()
    for x in (ys[0], -ys[1]):
        pair.check(x)
    pair.check(ys[3], list(pair.model)[2:7])
    pair.close()


def test_memory_goes_with_the_blocks() -> None:
    device = OnTorch("cpu")
    zero = np.zeros((SLOTS, 16), np.uint32)
    block = Block(MaskedBlock(BlockId(0), 0), zero, zero)
    device.sums([block], np.zeros(16, np.uint64), np.zeros(16, np.uint64), 17)
    assert len(device._held) == 1
    del block
    assert len(device._held) == 0


def test_a_device_that_multiplies_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = torch.fft.ifft
    monkeypatch.setattr(torch.fft, "ifft", lambda z: honest(z).to(torch.complex64).to(torch.complex128))
    with pytest.raises(BadArithmetic):
        lattice.check_torch.__wrapped__("cpu")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(BadConfig, match=r"workers\.device"):
        lattice.check_torch("cuda:77")


def test_what_does_not_belong_together_is_refused(both: Both) -> None:
    params = LatticeParams.of(10, 16)
    keeper = both[1].keeper(params, bytes(32), SeededRng(1))
    evaluator = both[1].evaluator(params, bytes(32), keeper.public)
    assert isinstance(evaluator, Evaluator)
    with pytest.raises(TypeError):
        evaluator.rows(np.zeros((1, 16), np.uint64), Ciphertexts(params), SeededRng(1))
    with pytest.raises(ProtocolError):
        keeper.open(bytes(5), 1)
