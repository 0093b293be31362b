"""Enrol and ask by embeddings that another program computed: `python examples/embeddings.py client.toml`."""

import sys

import numpy as np

import pura_client
from pura_client import Ready


def main(config: str) -> None:
    """A person enrolled by two embeddings, asked by a third; then a stranger."""
    with pura_client.connect(config) as pura:
        draw = np.random.default_rng()
        ada, stranger = draw.standard_normal((2, pura.params.dimension)).astype(np.float32)
        again = [Ready(ada + 0.1 * noise.astype(np.float32)) for noise in draw.standard_normal((3, len(ada)))]
        pura.enroll(embedding=again[:2], label="Ada (example)")
        try:
            print("Ada is", pura.identify(embedding=again[2]).label)
            print("a stranger is", pura.identify(embedding=Ready(stranger)).label)
            print("it is Ada:", pura.verify(embedding=again[2], label="Ada (example)").match)
        finally:
            print("erased:", pura.forget("Ada (example)"))


if __name__ == "__main__":
    main(sys.argv[1])
