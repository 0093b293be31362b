"""From a configuration to the backend of its engine: keys, store, workers, backend."""

from __future__ import annotations

import dataclasses

from pura.crypto.keys import load_public, load_share
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import KeyShare
from pura.ids import Engine
from pura.params import Params
from pura.protocols.parallel import Workers
from pura.store import SqliteStore
from pura_server.backend import GatewayBackend, PeerBackend
from pura_server.config import ServerConfig
from pura_server.published import PublishedGateway, PublishedPeer


@dataclasses.dataclass(frozen=True, repr=False)
class Parts:
    """What a server is made of before any connection exists."""

    pk: PublicKey
    share: KeyShare
    params: Params
    store: SqliteStore
    workers: Workers


def prepare(config: ServerConfig) -> Parts:
    """Read the keys, open the data folder, start the workers: everything that can be wrong with a server's own files.

    Call it before any gRPC object exists. Raises `BadKeyFile`, `WrongKey`, `BadConfig`, `DataFolderInUse`,
    `ParameterMismatch`, `BadDataFolder`, `StorageFull`.
    """
    pk = load_public(config.keys.public)
    share = load_share(config.keys.share, pk, config.party)
    params = config.collection.params(pk)
    # engine published has S2 keep nothing; the folder still says what it is for, and that one server uses it
    store = SqliteStore.open(
        config.data,
        role=config.party,
        agreement=params.storage,
        key_id=pk.key_id,
        block_bytes=pk.ciphertext_bytes,
    )
    workers = Workers(config.workers.number, config.workers.backend)
    workers.start()
    return Parts(pk, share, params, store, workers)


def gateway(parts: Parts) -> GatewayBackend:
    """S1's backend."""
    if parts.params.engine is Engine.PACKED:
        from pura_server.packed import PackedGateway

        return PackedGateway(parts.pk, parts.share, parts.params, parts.store, SystemRng(), parts.workers)
    return PublishedGateway(parts.pk, parts.share, parts.params, parts.store, SystemRng(), parts.workers)


def peer(parts: Parts) -> PeerBackend:
    """S2's backend."""
    if parts.params.engine is Engine.PACKED:
        from pura_server.packed import PackedPeer

        return PackedPeer(parts.pk, parts.share, parts.params, parts.store, SystemRng(), parts.workers)
    return PublishedPeer(parts.pk, parts.share, parts.params, SystemRng(), parts.workers)
