"""Everything that reads bytes from outside: what it takes, and some that it should take."""

from __future__ import annotations

import dataclasses
import inspect
import io
from collections.abc import Callable
from pathlib import Path

from pura import policy
from pura.crypto import handover, maskfile, p256, seal
from pura.crypto.keys import load_public, load_share, parse_public
from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SystemRng
from pura.crypto.sign import SigningKey
from pura.ids import BlockId, Handle, PackId, Party
from pura.messages import Message, decode, encode
from pura.protocols.prepared.correlations import MaskedBlock
from pura.protocols.prepared.tournament import load_fan_ins
from pura.protocols.shares.stock import Leaves, Need
from pura.wire._pb import pura_pb2 as pb
from pura_bench import results
from pura_bench.speed.deployment import FIXTURES
from pura_client import config as client_config
from pura_client import labelkey
from pura_desk import tokens
from pura_server import audit, bundles, groups, joining
from pura_server import config as server_config
from pura_server.audit import AuditLog
from pura_server.config import Collection
from pura_server.credentials import read_clients
from pura_server.deploy import Hosts, make
from pura_server.prepared import tables
from pura_server.requests import question_of

KEYS = FIXTURES / "test-keys-2048"
TOKENS = b'[[token]]\nname = "a"\nsha256 = "' + b"0" * 64 + b'"\nmay = ["ask"]\n'
Take = Callable[[bytes], object]


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader. `slow`: it gets a tenth of the inputs."""

    name: str
    samples: list[bytes]
    take: Take
    slow: bool = False

    @property
    def folder(self) -> str:
        """Where inputs that broke it are kept."""
        return self.name.replace(" ", "-").replace("'", "")


def targets(folder: Path) -> list[Target]:
    """All of them. `folder` is a place for files, best in memory; it holds a deployment after that."""
    return [*_messages(), *_files(folder), *_requests(), *_photos()]


def _messages() -> list[Target]:
    pk = load_public(KEYS / "public.key")
    rng = SystemRng()
    known = [_filled(kind, rng) for kind in Message.registry.values() if not inspect.isabstract(kind)]
    need = Need(80, 300, (Leaves(17, 5, 6),)).dump()
    query = pb.Query(key_id=pk.key_id, ciphertexts=rng.bytes(pk.ciphertext_bytes), request_id=rng.bytes(16))
    return [
        Target("message of a round", [encode(one) for one in known], decode),
        Target("list of handles", [tables.dump_handles([1, 2, 1 << 63])], tables.load_handles),
        Target(
            "list of places",
            [tables.dump_places([(Handle(7), BlockId(1), 2), (Handle(9), BlockId(0), 4095)])],
            lambda raw: tables.load_places(raw, 2, 4096),
        ),
        Target("list of packs", [tables.dump_packs([PackId(1), PackId(5)])], tables.load_packs),
        Target("list of blocks", [tables.dump_blocks([MaskedBlock(BlockId(1), 2)])], tables.load_blocks),
        Target("fan-ins", [bytes([2, 3, 16])], load_fan_ins),
        Target("amount of material", [need], Need.load),
        Target("point of P-256", [p256.dump(p256.Scalar(1).point)], p256.load),
        Target("ciphertext", [pk.dump_many([pk.encrypt(1, rng)])], lambda raw: pk.load_many(raw, 1)),
        Target("question", [query.SerializeToString()], _question),
    ]  # fmt: skip


def _filled(kind: type[Message], rng: SystemRng) -> Message:
    return kind(*(7 if each is int else rng.bytes(24) for _, each in kind.layout))


def _question(raw: bytes) -> object:
    from google.protobuf.message import DecodeError

    try:
        query = pb.Query.FromString(raw)
    except DecodeError:  # gRPC refuses it before any code of ours
        return None
    return question_of(query, bytes(32))


def _files(folder: Path) -> list[Target]:
    collection = Collection(dimension=16, threshold=0.5, embedder="none")
    s1, s2, desk = make(folder / "made", KEYS, collection, Hosts("127.0.0.1", "127.0.0.1", 7701, 7702))
    pk = load_public(KEYS / "public.key")
    rng, scratch = SystemRng(), folder / "scratch"
    masks = maskfile.dump_masks(MaskKeys.draw(rng), Party.S1, pk.key_id).encode()

    def by_path(read: Callable[[Path], object]) -> Take:
        def take(raw: bytes) -> object:
            scratch.write_bytes(raw)
            return read(scratch)

        return take

    def chain(raw: bytes) -> object:
        log.write_bytes(raw)
        return list(audit.read(log.parent, Party.S1))

    kept = AuditLog(folder / "audit", Party.S1)
    for number in range(5):
        kept.write("identify", f"{number:012x}", client="desk")
    kept.close()
    (log,) = (folder / "audit").iterdir()
    here = s1.parent
    return [
        Target("public key file", [(KEYS / "public.key").read_bytes()], _text(parse_public)),
        Target("share file", [(KEYS / "s1.share").read_bytes()], by_path(lambda path: load_share(path, pk)), slow=True),
        Target("mask key file", [masks], by_path(lambda path: maskfile.load_masks(path, Party.S1, pk.key_id))),
        Target("signature key", [SigningKey.new(rng).dump()], SigningKey.parse),
        Target("label key file", [labelkey.dump([rng.bytes(32)])], by_path(labelkey.load)),
        Target("server configuration", [s1.read_bytes(), s2.read_bytes()], by_path(server_config.load), slow=True),
        Target("client configuration", [desk.read_bytes()], by_path(client_config.load), slow=True),
        Target("list of clients", [(here / "clients.json").read_bytes()], by_path(read_clients)),
        Target("list of groups", [(s2.parent / "groups.json").read_bytes()], by_path(groups.read_groups)),
        Target("group's public keys", [next((folder / "made" / "ca").rglob(bundles.GROUP_PUBLIC)).read_bytes()],
               by_path(bundles.read_public_group)),
        Target("desk's tokens", [TOKENS], by_path(tokens.load), slow=True),
        Target("policy file", [(results.FOLDER / "policy-lfw-view1.toml").read_bytes()], by_path(policy.read)),
        Target("audit log", [log.read_bytes()], chain),
    ]  # fmt: skip


def _text(read: Callable[[str], object]) -> Take:
    return lambda raw: read(raw.decode("utf-8", "replace"))


def _requests() -> list[Target]:
    rng = SystemRng()
    key = rng.bytes(32)
    own = seal.SealKey.of(key)
    request = handover.ClientRequest("desk", b"-----BEGIN CERTIFICATE REQUEST-----\n", own.public)
    bundle, _ = handover.make_bundle(request, {"client.toml": b"x" * 200}, rng)

    return [
        Target("client's request", [request.dump()], _text(handover.ClientRequest.parse)),
        Target("client's bundle", [bundle], _text(lambda told: handover.open_bundle(told, request, own))),
        Target("request's key", [handover.dump_key(key)], _text(handover.load_key)),
        Target("server's request", [request.dump()], _text(joining.parse)),
    ]


def _photos() -> list[Target]:
    import numpy as np
    from PIL import Image

    from pura.face import images

    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    made = []
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF"):
        out = io.BytesIO()
        picture.save(out, kind)
        made.append(out.getvalue())
    return [Target("photo", made, images.read, slow=True)]
