"""SPU Cheetah: two parties and no helper; homomorphic products and silent OT. As `spu_semi2k` otherwise."""

from __future__ import annotations

import functools

import spu_semi2k

start = functools.partial(spu_semi2k.start, kind="CHEETAH", keyed=False)
