"""From a configuration to the backend of its engine: keys, store, workers, backend."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from pura_server.packed.counters import FileLedger


@dataclasses.dataclass(frozen=True, repr=False)
class Parts:
    """What a server is made of before any connection exists."""

    pk: PublicKey
    share: KeyShare
    params: Params
    store: SqliteStore
    workers: Workers
    config: ServerConfig


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
    workers = Workers(config.workers.number, config.workers.backend, config.workers.scheduler)
    workers.start()
    return Parts(pk, share, params, store, workers, config)


def gateway(parts: Parts) -> GatewayBackend:
    """S1's backend."""
    if parts.params.engine is Engine.PACKED:
        from pura_server.packed import PackedGateway

        offline = parts.config.offline
        return PackedGateway(
            parts.pk, parts.share, parts.params, parts.store, SystemRng(), parts.workers,
            packs=offline.packs, light_packs=offline.light_packs,
            ledger=_ledger(parts), lockout_window_s=offline.lockout_window_s,
        )  # fmt: skip
    return PublishedGateway(parts.pk, parts.share, parts.params, parts.store, SystemRng(), parts.workers)


def _ledger(parts: Parts) -> FileLedger | None:
    from pura_server.packed.counters import FileLedger

    return FileLedger(parts.config.data, parts.params.storage) if parts.params.lockout_limit else None


def peer(parts: Parts) -> PeerBackend:
    """S2's backend."""
    if parts.params.engine is Engine.PACKED:
        from pura_server.packed import PackedPeer

        return PackedPeer(
            parts.pk, parts.share, parts.params, parts.store, SystemRng(), parts.workers, ledger=_ledger(parts)
        )
    return PublishedPeer(parts.pk, parts.share, parts.params, SystemRng(), parts.workers)
