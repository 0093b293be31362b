"""Runs tests/vectors: lists of operations with what each gives, or the code of the error with which it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pura.bigint import Z
from pura.crypto import proof
from pura.crypto.context import Scope, commit, question_hash
from pura.crypto.encoding import distance2, quantise
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import Rng, SeededRng
from pura.crypto.seal import SealKey, seal
from pura.crypto.threshold import combine, dump_partials, load_partials
from pura.errors import PuraError
from pura.ids import ContextDigest, Handle
from pura.messages import Message, decode, encode
from pura.params import Params
from pura.protocols.prepared import template
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.published import identify, smul
from pura_server.prepared import wire

TESTS = Path(__file__).parents[1]
KEYS = TESTS / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
SHARES = {name: load_share(KEYS / f"{name.lower()}.share", PK) for name in ("S1", "S2")}
KINDS = {
    kind.__name__: kind
    for kind in (
        template.MaskedTemplates,
        wire.Prepared,
        wire.Apart,
        wire.Outcomes,
        smul.SmulAsk,
        identify.OpenReply,
    )
}


class Given:
    """A source that gives the one value that the vector names."""

    def __init__(self, value: int | bytes) -> None:
        self.value = value

    def bits(self, count: int) -> int:
        assert isinstance(self.value, int)
        assert self.value < 1 << count
        return self.value

    def bytes(self, count: int) -> bytes:
        assert isinstance(self.value, bytes)
        assert len(self.value) == count
        return self.value

    def below(self, bound: int) -> int:
        raise NotImplementedError


def given(value: int | bytes) -> Rng:
    return Given(value)


def number(text: str) -> Z:
    return Z(int(text, 16))


def ciphertext(c: Z) -> str:
    return PK.dump(c).hex()


def params(op: dict[str, Any]) -> Params:
    return Params(PK.key_id, 2048, **op["params"])


def fields(m: Message) -> dict[str, int | str]:
    return {name: v if isinstance(v := getattr(m, name), int) else v.hex() for name, _ in m.layout}


def built(op: dict[str, Any]) -> Message:
    return KINDS[op["kind"]](**{k: bytes.fromhex(v) if isinstance(v, str) else v for k, v in op["fields"].items()})


def decoded(op: dict[str, Any]) -> Message:
    m = decode(raw(op, "bytes"))
    assert type(m) is KINDS[op["kind"]]
    return m


def raw(op: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(op[name])


def repeated(draw: Callable[[], int], as_often: list[str]) -> list[str]:
    return [str(draw()) for _ in as_often]


def scope(op: dict[str, Any]) -> Scope:
    f = op["context"]
    return Scope(f["engine"], *(bytes.fromhex(f[name]) for name in ("collection", "key_id", "storage")))


def context(op: dict[str, Any]) -> ContextDigest:
    f = op["context"]
    names = ("id", "epoch", "client", "seal_key", "label")
    one, epoch, client, seal_key, label = (bytes.fromhex(f.get(name, "")) for name in names)
    handles = [Handle(int(h)) for h in f["handles"]] if "handles" in f else None
    if f["purpose"] == "enrol":
        return scope(op).enrolment(one, label, epoch, client)
    return scope(op).question(one, handles, epoch, seal_key, client)


def forget(op: dict[str, Any]) -> ContextDigest:
    f = op["context"]
    one, epoch, client = (bytes.fromhex(f[n]) for n in ("id", "epoch", "client"))
    return scope(op).forget(one, [Handle(int(h)) for h in f["handles"]], epoch, client)


def proven(op: dict[str, Any]) -> proof.Sealed:
    return proof.encrypt(PK, [int(p) for p in op["plaintexts"]], given(raw(op, "fresh")))


RUN: dict[str, Callable[[dict[str, Any]], Any]] = {
    # paillier
    "encrypt": lambda op: ciphertext(PK.encrypt(int(op["m"]), given(int(op["r"], 16)))),
    "add": lambda op: ciphertext(PK.add(number(op["c"]), number(op["d"]))),
    "add_plain": lambda op: ciphertext(PK.add_plain(number(op["c"]), int(op["m"]))),
    "scale": lambda op: ciphertext(PK.scale(number(op["c"]), int(op["k"]))),
    "rerandomise": lambda op: ciphertext(PK.rerandomise(number(op["c"]), given(int(op["r"], 16)))),
    "load": lambda op: str(PK.load(raw(op, "bytes"))),
    # threshold
    "partial": lambda op: dump_partials(PK, [SHARES[op["party"]].partial_decrypt(PK, number(op["c"]))]).hex(),
    "combine": lambda op: str(combine(PK, number(op["c"]), number(op["u1"]), number(op["u2"]))),
    "load_partial": lambda op: str(load_partials(PK, raw(op, "bytes"), 1)[0]),
    # rng
    "bytes": lambda op: SeededRng(op["seed"]).bytes(op["count"]).hex(),
    "bits": lambda op: repeated(partial(SeededRng(op["seed"]).bits, op["bits"]), op["gives"]),
    "below": lambda op: repeated(partial(SeededRng(op["seed"]).below, int(op["bound"])), op["gives"]),
    # seal
    "seal": lambda op: seal(raw(op, "public"), raw(op, "text"), raw(op, "context"), given(raw(op, "sender"))).hex(),
    "open": lambda op: SealKey(given(raw(op, "private"))).open(raw(op, "sealed"), raw(op, "context")).hex(),
    # messages
    "encode": lambda op: encode(built(op)).hex(),
    "decode": lambda op: fields(decoded(op)),
    # proof
    "context": lambda op: context(op).hex(),
    "forget": lambda op: forget(op).hex(),
    "commit": lambda op: commit(raw(op, "salt"), raw(op, "fingerprint")).hex(),
    "hash_question": lambda op: question_hash(context(op), raw(op, "ciphertexts"), raw(op, "proof")).hex(),
    "encrypt_proven": lambda op: PK.dump_many(proven(op).ciphertexts).hex(),
    "prove": lambda op: proof.prove(PK, proven(op), context(op), given(raw(op, "fresh_proof"))).hex(),
    "check": lambda op: proof.check(
        PK, raw(op, "ciphertexts"), op["count"], raw(op, "proof"), context(op)
    ).challenge.hex(),
    # encoding
    "quantise": lambda op: quantise(op["embedding"], params(op)).tolist(),
    "pack": lambda op: [str(p) for p in template.pack(Sizes.of(params(op)), np.array(op["template"], dtype=np.int64))],
    "unpack": lambda op: template.digits_of(Sizes.of(params(op)), [int(p) for p in op["plaintexts"]]).tolist(),
    "distance2": lambda op: distance2(np.array(op["x"]), np.array(op["ys"])).tolist(),
}
OPERATIONS = [
    pytest.param(op, id=f"{path.stem}-{i}-{op['op']}")
    for path in sorted((TESTS / "vectors").glob("*.json"))
    for i, op in enumerate(json.loads(path.read_text())["operations"])
]


@pytest.mark.parametrize("op", OPERATIONS)
def test_operation(op: dict[str, Any]) -> None:
    run = RUN[op["op"]]
    if "fails" in op:
        with pytest.raises(PuraError) as caught:
            run(op)
        assert caught.value.code == op["fails"]
    else:
        assert run(op) == op["gives"]


def test_the_vectors_hold_something_that_must_fail_and_leave_no_operation_out() -> None:
    files = {path.stem: json.loads(path.read_text())["operations"] for path in (TESTS / "vectors").glob("*.json")}
    assert set(files) == {"encoding", "messages", "paillier-2048", "proof-2048", "rng", "seal"}
    assert all(any("fails" in op for op in ops) for name, ops in files.items() if name != "rng")
    assert {op["op"] for ops in files.values() for op in ops} == set(RUN)
