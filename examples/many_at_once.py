"""Many questions side by side with asyncio: `python examples/many_at_once.py client.toml`."""

import asyncio
import sys

import numpy as np

from pura_client import Ready, aio


async def main(config: str) -> None:
    """Eight strangers, asked about at once. One session, one connection."""
    async with await aio.connect(config) as pura:
        faces = np.random.default_rng().standard_normal((8, pura.params.dimension)).astype(np.float32)
        decisions = await asyncio.gather(*(pura.identify(embedding=Ready(face)) for face in faces))
        print("matches:", sum(decision.match for decision in decisions), "of", len(decisions))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
