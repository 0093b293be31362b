"""`s1.toml` and `s2.toml`: everything that one server needs to know. Unknown keys are refused."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from joblib.externals import loky
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pura import settings, vaults
from pura.crypto import vault
from pura.crypto.paillier import PublicKey
from pura.crypto.sign import SigningKey, VerifyKey
from pura.crypto.vault import PLAIN, Vault
from pura.errors import BadConfig, OutOfRange, WrongKey
from pura.ids import GONE, Engine, Party
from pura.params import DEFAULT_SCALE, MAX_TOP_K, MOST_DAYS, Params, check_rounding, tau_from_cosine
from pura.statements import Signer, Verifier
from pura.store.snapshots import KEPT

QUESTIONS_A_DAY = 100
"""What one client may ask where nothing else is said: fewer than it takes to describe a template (SECURITY.md)."""
ENROLMENTS_A_DAY = 1000

CLIENTS_NAME, GROUPS_NAME = "clients.json", "groups.json"

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None:
        raise ValueError("must be host:port, an IPv6 address in brackets, and without https://")
    if not 0 < int(match[2]) < 1 << 16:
        raise ValueError("the port must be between 1 and 65535")
    return value


Address = Annotated[str, AfterValidator(_address)]


def is_loopback(address: str) -> bool:
    """Whether an address (host:port) is of this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Keys(_Section):
    """The files of the ceremony."""

    public: Path
    share: Path
    masks: Path | None = None
    """Engine prepared: the keys of this server's masks. Beside the share, with the ending .masks, unless told; made at
    the first start on an empty data folder. Whoever has the data folders of both servers still needs both files."""
    unseal: Annotated[str, AfterValidator(vaults.check)] | None = None
    """What opens these files if they are sealed: `passphrase`, `file:PATH` or `command:WORDS`; a passphrase is asked
    for at the terminal unless told."""
    sign: Path | None = None
    """On S2: the private key with which it signs answers, rosters and outcomes."""

    @property
    def mask_file(self) -> Path:
        """Where the keys of the masks are."""
        return self.masks or self.share.with_suffix(".masks")

    def vault(self) -> Vault:
        """What opens these files, and seals what is written beside a sealed share. Raises `BadKeyFile`."""
        made = vaults.opening(self.unseal, self.share.name)
        made.sealing = vault.about(self.share) is not None
        return made


class Tls(_Section):
    """This server's own certificate, and on S1 the authority of its clients' certificates."""

    cert: Path
    key: Path
    clients_ca: Path | None = None


class Peer(_Section):
    """The other server. `certificate` is the pinned one, as the other operator handed it over; the file may hold two
    while one replaces the other. No authority can stand in for it."""

    address: Address | None = None
    certificate: Path | None = None
    sign_key: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """On S1: the public half of S2's `keys.sign`, as `pura-server sign-key` prints it."""


class Collection(_Section):
    """What both servers and all clients must agree on; see `pura.params.Params`.

    One of: `threshold`, the least cosine that counts as a match when a client names the entries (verify); `tau`, the
    largest squared distance of templates. `identify_threshold` or `identify_tau`: the same for questions about all
    entries, where false matches grow with the gallery; as in verify if neither is given.
    `lockout_limit`: how many questions at least as near as `lockout_threshold` (a cosine) an entry answers in a window;
    0 for no limit. `retention_days`: after so many days both servers erase what is enrolled from now on; 0 for never.
    `tries`: how many questions that name an entry (16 at most at once) and score below `deep_threshold` are answered
    about it in a day, in 30 days, and until S1's operator lifts it (`pura-server unlock`).
    """

    engine: Engine = Engine.PREPARED
    dimension: int = 128
    scale: int = DEFAULT_SCALE
    threshold: float | None = None
    tau: int | None = None
    identify_threshold: float | None = None
    identify_tau: int | None = None
    top_k: int = Field(default=1, ge=1, le=MAX_TOP_K)
    embedder: str = Field(default="sface", max_length=64)
    allow_leaky: bool = False
    """Engine published leaks distances and has no proofs: it starts with this only."""
    lockout_threshold: float | None = None
    lockout_limit: int = Field(default=0, ge=0, lt=1 << 16)
    deep_threshold: float | None = None
    tries: tuple[int, int, int] | None = None
    retention_days: int = Field(default=0, ge=0, le=MOST_DAYS)

    @field_validator("engine", mode="before")
    @classmethod
    def _not_gone(cls, value: object) -> object:
        if isinstance(value, str) and value in GONE:
            raise ValueError(GONE[value])
        return value

    @model_validator(mode="before")
    @classmethod
    def _without_sigma(cls, body: Any) -> Any:
        if isinstance(body, dict) and "sigma" in body and body.get("engine") not in GONE:
            raise ValueError("sigma was for engine packed, which is gone: take the line out")
        return body

    @model_validator(mode="after")
    def _one_threshold(self) -> Collection:
        if (self.threshold is None) == (self.tau is None):
            raise ValueError("exactly one of threshold and tau must be given")
        if self.identify_threshold is not None and self.identify_tau is not None:
            raise ValueError("give identify_threshold or identify_tau, not both")
        if bool(self.lockout_limit) != (self.lockout_threshold is not None):
            raise ValueError("lockout_limit and lockout_threshold belong together")
        if self.lockout_limit and self.engine is Engine.PUBLISHED:
            raise ValueError("engine published has no lockout")
        if (self.tries is None) != (self.deep_threshold is None):
            raise ValueError("tries and deep_threshold belong together")
        if self.tries and self.lockout_limit:
            raise ValueError("a collection has tries or a lockout_limit, not both")
        if self.tries and self.engine is not Engine.PREPARED:
            raise ValueError("tries are counted by engine prepared only")
        if self.retention_days and self.engine is Engine.PUBLISHED:
            raise ValueError("engine published keeps entries until they are erased: it has no retention_days")
        if self.allow_leaky != (self.engine is Engine.PUBLISHED):
            raise ValueError("engine published leaks, and starts with allow_leaky = true only; others need none")
        return self

    @model_validator(mode="after")
    def _can_be_rounded(self) -> Collection:
        try:
            check_rounding(self.dimension, self.scale)
        except OutOfRange as error:
            raise ValueError(str(error)) from error
        return self

    def params(self, pk: PublicKey) -> Params:
        """The parameters of this collection under a key. Raises `BadConfig`, `WrongKey` for a key of another engine."""
        if pk.engine is not self.engine:
            raise WrongKey(f"the key was made for engine {pk.engine}, the collection is of engine {self.engine}")
        try:
            verify = self._tau(self.threshold, self.tau) or 0
            identify = self._tau(self.identify_threshold, self.identify_tau)
            return Params(
                key_id=pk.key_id,
                n_bits=pk.n_bits,
                engine=self.engine,
                dimension=self.dimension,
                scale=self.scale,
                tau_verify=verify,
                tau_identify=verify if identify is None else identify,
                top_k=self.top_k,
                embedder=self.embedder,
                lockout_tau=self._tau(self.lockout_threshold, None) or 0,
                lockout_limit=self.lockout_limit,
                tau_deep=self._tau(self.deep_threshold, None) or 0,
                tries=self.tries or (0, 0, 0),
                retention_days=self.retention_days,
            )
        except OutOfRange as error:
            raise BadConfig(f"collection: {error}") from error

    def _tau(self, threshold: float | None, tau: int | None) -> int | None:
        return tau if threshold is None else tau_from_cosine(threshold, self.scale)


class Limits(_Section):
    """What one server takes on at a time. What is above is refused before any work is spent on it."""

    at_once: int = Field(default=4, ge=1, le=256)
    """Questions answered at the same time."""
    waiting: int = Field(default=64, ge=0, le=10_000)
    """Questions that may wait for their turn."""
    per_client: int = Field(default=16, ge=1)
    """Questions of one client, answered or waiting."""
    changes_waiting: int = Field(default=16, ge=0)
    """Enrolments and erasures that may wait; they are carried out one at a time."""
    changes_per_client: int = Field(default=4, ge=1)
    """Of these, carried out or waiting, one client's."""
    batch: int = Field(default=64, ge=1, le=4096)
    """Enrolments, or labels, in one request."""
    connections: int = Field(default=16, ge=1, le=256)
    """Connections of one client."""
    streams: int = Field(default=32, ge=1, le=256)
    """Calls at the same time over one connection."""
    calls: int = Field(default=32, ge=1, le=1024)
    """Calls of one client at the same time, over all of its connections, questions that wait included."""
    message_s: float = Field(default=30.0, gt=0)
    """How long a client's message may take to arrive."""
    sessions: int = Field(default=64, ge=1, le=1024)
    """On S2: sessions with S1 at the same time."""
    question_s: float = Field(default=300.0, gt=0)
    """The longest time for a question; a client's own deadline counts when it is shorter."""
    change_s: float = Field(default=900.0, gt=0)
    """The longest time for one batch of enrolments or one erasure."""
    reserve_mib: int = Field(default=64, ge=0)
    """Enrolments are refused when the data folder's disk has less room than this, so that it lasts for the rest."""
    drain_s: float = Field(default=25.0, ge=0)
    """After SIGTERM: how long operations may take to end."""
    fpir: float = Field(default=0.01, gt=0, lt=1)
    """The share of strangers that identify may name before `check` and `status` say that the gallery has outgrown its
    threshold."""


class Budget(_Section):
    """How many questions and enrolments one client may make: a bucket of each, which fills by so many an hour."""

    questions: int = Field(default=QUESTIONS_A_DAY, ge=1)
    per_hour: float = Field(default=QUESTIONS_A_DAY / 24, ge=0)
    interval_s: float = Field(default=0.0, ge=0)
    """The shortest time between two questions of one client."""
    enrolments: int = Field(default=ENROLMENTS_A_DAY, ge=1)
    enrolments_per_hour: float = Field(default=ENROLMENTS_A_DAY / 24, ge=0)
    replay_days: float = Field(default=30.0, gt=0)
    """How long the ids of answered questions are remembered."""


class Offline(_Section):
    """On S1: how many offline parts of questions are kept ready, and the lockout's window."""

    packs: int | None = Field(default=None, ge=0, le=1024)
    """For identify: what depends on all entries, and the material of one tournament each. 64 unless told."""
    light_packs: int | None = Field(default=None, ge=0, le=1024)
    """For verify: 16 unless told."""
    memory_mib: int = Field(default=512, ge=1)
    """Engine prepared: fewer packs are kept where so many would take more, but at least two."""
    lockout_window_s: float = Field(default=86_400.0, gt=0)
    """After this time all counters of the lockout begin anew; a day of `tries`, whose month is 30 times as long."""


class WorkersConfig(_Section):
    """The processes that do the arithmetic of engine published. 0: one for each core.

    Backend `dask` sends the work to the cluster at `scheduler` (host:port). Its workers hold the gallery and this
    server's masks, and have to be kept like the server itself.
    """

    count: int = Field(default=0, ge=0, le=1024)
    backend: Literal["loky", "threading", "dask"] = "loky"
    scheduler: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    """Engine prepared: `cuda` multiplies on an NVIDIA GPU, with torch (the extra `gpu`)."""

    @model_validator(mode="after")
    def _scheduler_for_a_cluster(self) -> WorkersConfig:
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ValueError("backend dask and scheduler belong together")
        if self.backend == "dask" and self.device != "cpu":
            raise ValueError("the workers of a cluster multiply on their processors: backend dask needs device cpu")
        return self

    @property
    def number(self) -> int:
        """How many there are to be."""
        return self.count or loky.cpu_count()  # which knows of containers' limits


class Metrics(_Section):
    """Prometheus metrics over HTTP, if an address is given. They name methods and error codes, never a client."""

    listen: Address | None = None


class Audit(_Section):
    """The hash-chained log of who asked what kind of thing when, if a folder is given. Without room for its lines
    nothing is done."""

    folder: Path | None = None


class SnapshotsConfig(_Section):
    """Copies of the gallery that S1's operator asks for, of both servers at one moment; each server keeps its own."""

    folder: Path | None = None
    keep: int = Field(default=KEPT, ge=1, le=10_000)
    """How many; the oldest go."""


class Log(_Section):
    """JSON lines on the standard error stream."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class ServerConfig(_Section):
    """One server. Paths are relative to the folder of the file."""

    role: Literal["s1", "s2"]
    listen: Address
    sessions: Address | None = None
    """On S2: where S1's sessions come in, on TLS connections beside gRPC. The host of `listen` and a port that the
    system chooses unless told; a firewall wants it told."""
    data: Path
    keys: Keys
    tls: Tls | None = None
    peer: Peer = Peer()
    clients: Path | None = None
    """S1's list of client credentials; `load` puts in `clients.json` beside the file."""
    groups: Path | None = None
    """S2's list of client groups; `load` puts in `groups.json` beside the file."""
    collection: Collection
    limits: Limits = Limits()
    budget: Budget = Budget()
    offline: Offline = Offline()
    workers: WorkersConfig = WorkersConfig()
    metrics: Metrics = Metrics()
    log: Log = Log()
    audit: Audit = Audit()
    snapshots: SnapshotsConfig = SnapshotsConfig()

    @property
    def party(self) -> Party:
        """Which of the two servers this is."""
        return Party[self.role.upper()]

    @property
    def groups_file(self) -> Path:
        """S2's list of client groups. Raises `BadConfig`."""
        if self.groups is None:
            raise BadConfig("groups of clients are known to S2 only; this is the configuration of S1")
        return self.groups

    @property
    def clients_file(self) -> Path:
        """S1's list of client credentials. Raises `BadConfig`."""
        if self.clients is None:
            raise BadConfig("clients are known to S1 only; this is the configuration of S2")
        return self.clients

    @property
    def snapshots_folder(self) -> Path:
        """Where snapshots lie. Raises `BadConfig`."""
        if self.snapshots.folder is None:
            raise BadConfig("snapshots.folder is not set: this server keeps no snapshots")
        return self.snapshots.folder

    @property
    def audit_folder(self) -> Path:
        """Where the audit log lies. Raises `BadConfig`."""
        if self.audit.folder is None:
            raise BadConfig("audit.folder is not set: this server keeps no audit log")
        return self.audit.folder

    @model_validator(mode="after")
    def _fits_its_role(self) -> ServerConfig:
        if self.role == "s1" and self.peer.address is None:
            raise ValueError("peer.address is missing: S1 connects to S2")
        if self.role == "s2" and self.peer.address is not None:
            raise ValueError("peer.address is not for S2: S1 connects to it")
        if self.role == "s2" and self.clients is not None:
            raise ValueError("clients is not for S2: it knows groups only")
        if self.role == "s1" and self.groups is not None:
            raise ValueError("groups is not for S1: S2 checks what they sign")
        if self.role == "s1" and self.keys.sign is not None:
            raise ValueError("keys.sign is not for S1: S2 signs; S1 has the public half in peer.sign_key")
        if self.role == "s2" and self.peer.sign_key is not None:
            raise ValueError("peer.sign_key is not for S2: S1 signs nothing")
        return self

    def signer(self, pk: PublicKey, vault: Vault = PLAIN) -> Signer:
        """What S2 signs with. Raises `BadConfig`, `BadKeyFile`, `SecretNeeded`, `WrongPassphrase`."""
        if self.keys.sign is None:
            raise BadConfig(
                "keys.sign is missing: S2 signs what it answers. `pura-server sign-key FILE` makes the key, and prints "
                "its public half for the operator of S1 and for the clients"
            )
        return Signer(SigningKey.load(self.keys.sign, vault), pk.key_id)

    def verifier(self, pk: PublicKey) -> Verifier:
        """What S1 checks S2's signatures with. Raises `BadConfig`."""
        if self.peer.sign_key is None:
            raise BadConfig(
                "peer.sign_key is missing: the public half of the key that S2 signs with; `pura-server sign-key FILE` "
                "shows it to the operator of S2"
            )
        return Verifier(VerifyKey.from_hex(self.peer.sign_key), pk.key_id)

    def require_tls(self) -> Tls:
        """The TLS files. Raises `BadConfig` when the file lacks what mTLS needs; TLS is never off by omission."""
        if self.tls is None:
            raise BadConfig("the section tls is missing; plaintext needs --insecure and loopback addresses")
        if self.peer.certificate is None:
            raise BadConfig("peer.certificate is missing: the other server's certificate must be pinned")
        if self.party is Party.S1 and self.tls.clients_ca is None:
            raise BadConfig("tls.clients_ca is missing: S1 must know who signs its clients' certificates")
        return self.tls

    def require_loopback(self) -> None:
        """Raises `BadConfig` unless all addresses are of this machine."""
        for name, address in (("listen", self.listen), ("peer.address", self.peer.address)):
            if address is not None and not is_loopback(address):
                raise BadConfig(f"{name}: --insecure is allowed on loopback addresses only")


_KEY_FILES = ("public", "share", "masks", "sign")
_PATHS = (("data",), ("clients",), ("groups",), *(("keys", name) for name in _KEY_FILES), ("tls", "cert"),
          ("tls", "key"), ("tls", "clients_ca"), ("peer", "certificate"), ("audit", "folder"),
          ("snapshots", "folder"))  # fmt: skip


def load(path: Path) -> ServerConfig:
    """Read a configuration file. Raises `BadConfig` that names the file and the key, never the value."""
    body = settings.read(path)
    for role, key, name in (("s1", "clients", CLIENTS_NAME), ("s2", "groups", GROUPS_NAME)):
        if body.get("role") == role:
            body.setdefault(key, name)
    for place in _PATHS:
        _relative_to(path.parent, body, place)
    keys = body.get("keys")
    how = keys.get("unseal") if isinstance(keys, dict) else None
    if isinstance(keys, dict) and isinstance(how, str) and how.startswith("file:"):
        keys["unseal"] = f"file:{path.parent / how.removeprefix('file:')}"
    return settings.validated(ServerConfig, body, path)


def _relative_to(folder: Path, body: dict[str, Any], place: tuple[str, ...]) -> None:
    for name in place[:-1]:
        inner = body.get(name)
        if not isinstance(inner, dict):
            return
        body = inner
    value = body.get(place[-1])
    if isinstance(value, str):
        body[place[-1]] = str(folder / value)
