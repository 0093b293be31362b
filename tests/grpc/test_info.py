"""What Info tells a client of the policy: nothing. In 0.1 it had a hash with the threshold inside, which is guessed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

from server_pair import Deployment

from pura.ids import Engine, KeyId
from pura.params import PROTOCOL_VERSION, Params
from pura.wire._pb import pura_pb2 as pb

MARK = 987_654_321_987


def thresholds(info: pb.InfoReply, hashes: Mapping[str, bytes]) -> dict[str, int]:
    """The attack: every threshold that there can be, the same for verify and identify, hashed with what Info tells,
    beside each hash. Some 0.1 s at S = 128."""
    known = Params(
        key_id=KeyId(info.key_id),
        n_bits=info.n_bits,
        engine=Engine(info.engine),
        dimension=info.dimension,
        scale=info.scale,
        top_k=info.top_k,
        embedder=info.embedder,
    )
    body = {
        **dataclasses.asdict(known),
        "key_id": known.key_id.hex(),
        "tau_verify": MARK,
        "tau_identify": MARK,
        "protocol": PROTOCOL_VERSION,
    }
    before, between, after = json.dumps(body, sort_keys=True).split(str(MARK))
    wanted = {value: name for name, value in hashes.items()}
    found = {}
    for tau in range(4 * known.norm2 + 1):
        name = wanted.get(hashlib.sha256(f"{before}{tau}{between}{tau}{after}".encode()).digest())
        if name is not None:
            found[name] = tau
    return found


def test_info_tells_nothing_of_the_threshold(running: Deployment) -> None:
    with running.stub() as stub:
        info = stub.Info(pb.InfoRequest(), timeout=10)
    assert thresholds(info, {"agreement": running.params.agreement}) == {"agreement": running.params.tau_verify}
    said = {field.name: value for field, value in info.ListFields() if isinstance(value, bytes)}
    assert {"key_id", "storage", "collection"} <= set(said)
    assert thresholds(info, said) == {}
    assert not {str(running.params.tau_verify), str(running.threshold)} & {str(value) for _, value in info.ListFields()}
