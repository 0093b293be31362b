"""From a configuration to the backend of its engine: keys, store, workers, backend."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

from pura.crypto.keys import load_public, load_share
from pura.crypto.maskfile import load_masks, write_masks
from pura.crypto.masks import MaskKeys
from pura.crypto.paillier import PublicKey
from pura.crypto.rlwe.parameters import LatticeParams
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import KeyShare
from pura.crypto.vault import PLAIN, Vault
from pura.errors import BadConfig
from pura.ids import Engine, Party
from pura.params import Params
from pura.protocols.parallel import Workers
from pura.protocols.prepared.arithmetic import NUMPY, Arithmetic
from pura.protocols.prepared.correlate import LatticeCorrelations
from pura.protocols.prepared.correlations import Correlations, ReadMasks
from pura.protocols.prepared.side import Side
from pura.rounds import Rounds
from pura.statements import Signer, Verifier, signs
from pura.store import SqliteStore
from pura.store.snapshots import Snapshots
from pura_server.backend import GatewayBackend, PeerBackend
from pura_server.config import ServerConfig
from pura_server.expiry import Calendar
from pura_server.groups import GroupBook
from pura_server.published import PublishedGateway, PublishedPeer

if TYPE_CHECKING:
    from pura.protocols.shares.ledger import Windows
    from pura_server.prepared.counters import MaskedLedger


K = TypeVar("K", Signer, Verifier)


@dataclasses.dataclass(frozen=True, repr=False)
class Parts:
    """What a server is made of before any connection exists."""

    pk: PublicKey
    share: KeyShare
    params: Params
    store: SqliteStore
    workers: Workers
    config: ServerConfig
    signer: Signer | None
    """S2's, unless it signs nothing."""
    verifier: Verifier | None
    """S1's, unless S2 signs nothing."""
    vault: Vault = PLAIN
    """What opens and seals this server's secret files."""


def prepare(config: ServerConfig) -> Parts:
    """Read the keys, open the data folder, start the workers: everything that can be wrong with a server's own files.

    Call it before any gRPC object exists. Raises `BadKeyFile`, `WrongKey`, `BadConfig`, `DataFolderInUse`,
    `ParameterMismatch`, `BadDataFolder`, `StorageFull`, `SecretNeeded`, `WrongPassphrase`.
    """
    pk = load_public(config.keys.public)
    vault = config.keys.vault()
    share = load_share(config.keys.share, pk, config.party, vault)
    params = config.collection.params(pk)
    signed = signs(params.engine)
    signer = config.signer(pk, vault) if signed and config.party is Party.S2 else None
    verifier = config.verifier(pk) if signed and config.party is Party.S1 else None
    # engine published has S2 keep nothing; the folder still says what it is for, and that one server uses it
    store = SqliteStore.open(
        config.data,
        role=config.party,
        agreement=params.storage,
        key_id=pk.key_id,
    )
    # engine prepared multiplies in this process, or on a cluster
    pool = params.engine is Engine.PUBLISHED or config.workers.scheduler is not None
    workers = Workers(config.workers.number, config.workers.backend, config.workers.scheduler) if pool else Workers()
    workers.start()
    return Parts(pk, share, params, store, workers, config, signer, verifier, vault)


def gateway(parts: Parts) -> GatewayBackend:
    """S1's backend."""
    if parts.params.engine is Engine.PREPARED:
        from pura_server.prepared.gateway import PreparedGateway, Shelves

        offline = parts.config.offline
        shelves = Shelves(_or(offline.packs, 64), _or(offline.light_packs, 16), offline.memory_mib << 20)
        keys = mask_keys(parts)
        parts.pk.table.prepare()  # the first question does not wait for it
        return PreparedGateway(
            parts.pk, parts.share, parts.params, parts.store, keys, SystemRng(), lattice,
            verifier=_given(parts.verifier), shelves=shelves,
            ledger=_masked_ledger(parts, keys), windows=_windows(parts),
            arithmetic=arithmetic(parts), snapshots=_snapshots(parts), calendar=Calendar(parts.config.data),
        )  # fmt: skip
    return PublishedGateway(parts.pk, parts.share, parts.params, parts.store, SystemRng(), parts.workers)


def mask_keys(parts: Parts) -> MaskKeys:
    """The keys of this server's masks; new ones for a data folder without entries. Raises `BadKeyFile`, `WrongKey`,
    `StorageFull`."""
    path = parts.config.keys.mask_file
    owner = parts.share.party, parts.pk.key_id
    if not path.exists() and not parts.store.count():
        write_masks(path, MaskKeys.draw(SystemRng()), *owner, parts.vault)
    keys = load_masks(path, *owner, parts.vault)
    parts.vault.forget()
    return keys


def arithmetic(parts: Parts) -> Arithmetic:
    """Where this server multiplies. Raises `BadConfig`, `BadArithmetic`."""
    device = parts.config.workers.device
    if parts.workers.cluster is not None:
        from pura.protocols.prepared.on_cluster import OnCluster

        return OnCluster(parts.workers.cluster)
    if device == "cpu":
        return NUMPY
    try:
        from pura.protocols.prepared.on_torch import OnTorch
    except ImportError as error:
        raise BadConfig("a GPU needs the extra gpu: pip install 'pura-match[gpu]'") from error
    return OnTorch(device)


def lattice(side: Side, read: ReadMasks) -> Rounds[Correlations]:
    """This server's end of the correlations, at a new connection."""
    sizes = side.sizes
    params = LatticeParams.of(sizes.key_bits, sizes.dimension)
    return (yield from LatticeCorrelations.connect(params, side.share.party, read, side.rng, side.arithmetic))


def _masked_ledger(parts: Parts, keys: MaskKeys) -> MaskedLedger | None:
    from pura_server.prepared.counters import MaskedLedger

    p = parts.params
    limits = p.tries_for(1) or ((p.lockout_limit,) if p.lockout_limit else ())
    if not limits:
        return None
    # locks follow from counters and limits: other limits begin anew
    tag = p.storage + b"".join(limit.to_bytes(4, "big") for limit in limits)
    return MaskedLedger(parts.config.data, tag, keys, SystemRng())


def _windows(parts: Parts) -> Windows | None:
    """S1's: they go on over a restart."""
    if not (parts.params.lockout_limit or any(parts.params.tries)):
        return None
    from pura_server.prepared.counters import FileWindows
    from pura_server.prepared.gateway import window_lengths

    return FileWindows(parts.config.data, window_lengths(parts.params, parts.config.offline.lockout_window_s))


def _snapshots(parts: Parts) -> Snapshots | None:
    told = parts.config.snapshots
    return None if told.folder is None else Snapshots(parts.config.data, told.folder, told.keep)


def _given(key: K | None) -> K:
    """A key that `prepare` has made sure of."""
    assert key is not None
    return key


def _or(given: int | None, usual: int) -> int:
    return usual if given is None else given


def peer(parts: Parts) -> PeerBackend:
    """S2's backend."""
    if parts.params.engine is Engine.PREPARED:
        from pura_server.prepared.peer import PreparedPeer

        keys = mask_keys(parts)
        parts.pk.table.prepare()
        return PreparedPeer(
            parts.pk, parts.share, parts.params, parts.store, keys, SystemRng(), lattice,
            signer=_given(parts.signer), ledger=_masked_ledger(parts, keys),
            groups=GroupBook(parts.config.groups_file), arithmetic=arithmetic(parts), snapshots=_snapshots(parts),
            calendar=Calendar(parts.config.data),
        )  # fmt: skip
    return PublishedPeer(parts.pk, parts.share, parts.params, SystemRng(), parts.workers)
