"""What uses a client, tested without servers: `python examples/in_your_tests.py`."""

import numpy as np

from pura_client import Ready
from pura_client.doubles import Double
from pura_client.session import Client


def greet(pura: Client, face: Ready) -> str:
    """What a program of yours does with an answer."""
    decision = pura.identify(embedding=face)
    return f"Good morning, {decision.label}" if decision.match else "Please see the desk"


basis = np.eye(16, dtype=np.float32)
with Double(threshold=0.5, embedder="mine", dimension=16) as pura:
    pura.enroll(embedding=Ready(basis[0]), label="Ada Lovelace")
    assert greet(pura, Ready(basis[0])) == "Good morning, Ada Lovelace"
    assert greet(pura, Ready(basis[1])) == "Please see the desk"
print("both as they should be")
