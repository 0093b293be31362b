"""`s1.toml` and `s2.toml`: everything that one server needs to know. Unknown keys are refused."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pura import settings
from pura.crypto.paillier import PublicKey
from pura.errors import BadConfig, OutOfRange
from pura.ids import Engine, Party
from pura.params import DEFAULT_SCALE, MAX_TOP_K, Metric, Params, tau_from_cosine, tau_from_distance

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        raise ValueError("must be host:port")
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


class Collection(_Section):
    """What both servers and all clients must agree on; see `pura.params.Params`.

    One of: `threshold`, the least cosine (metric cosine) or the largest distance (euclidean) that counts as a match;
    `tau`, the largest squared distance of quantised vectors. `lockout_limit`: how many questions at least as near as
    `lockout_threshold` (given as the threshold is) an entry answers in a window; 0 for no limit.
    """

    engine: Engine = Engine.PACKED
    dimension: int = 128
    scale: int = DEFAULT_SCALE
    metric: Metric = Metric.COSINE
    radius: float = 1.0
    sigma: int = 40
    threshold: float | None = None
    tau: int | None = None
    top_k: int = Field(default=1, ge=1, le=MAX_TOP_K)
    embedder: str = Field(default="sface", max_length=64)
    lockout_threshold: float | None = None
    lockout_limit: int = Field(default=0, ge=0, lt=1 << 16)

    @model_validator(mode="after")
    def _one_threshold(self) -> Collection:
        if (self.threshold is None) == (self.tau is None):
            raise ValueError("exactly one of threshold and tau must be given")
        if bool(self.lockout_limit) != (self.lockout_threshold is not None):
            raise ValueError("lockout_limit and lockout_threshold belong together")
        if self.lockout_limit and self.engine is not Engine.PACKED:
            raise ValueError("only engine packed has a lockout")
        return self

    def params(self, pk: PublicKey) -> Params:
        """The parameters of this collection under a key. Raises `BadConfig`."""
        try:
            tau = self.tau if self.tau is not None else self._tau(self.threshold or 0.0)
            return Params(
                key_id=pk.key_id,
                n_bits=pk.n_bits,
                engine=self.engine,
                dimension=self.dimension,
                scale=self.scale,
                metric=self.metric,
                radius=self.radius,
                sigma=self.sigma,
                tau=tau,
                top_k=self.top_k,
                embedder=self.embedder,
                lockout_tau=0 if self.lockout_threshold is None else self._tau(self.lockout_threshold),
                lockout_limit=self.lockout_limit,
            )
        except (OutOfRange, ZeroDivisionError) as error:
            raise BadConfig(f"collection: {error}") from error

    def _tau(self, threshold: float) -> int:
        if self.metric is Metric.COSINE:
            return tau_from_cosine(threshold, self.scale)
        return tau_from_distance(threshold, self.scale, self.radius)


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
    batch: int = Field(default=64, ge=1, le=4096)
    """Enrolments in one request."""
    message_mib: int = Field(default=8, ge=1, le=64)
    """The longest message of a client."""
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


class Budget(_Section):
    """How many questions one client may ask: a bucket of `questions` that fills by `per_hour` an hour."""

    questions: int = Field(default=1000, ge=1)
    per_hour: float = Field(default=1000.0, ge=0)
    interval_s: float = Field(default=0.0, ge=0)
    """The shortest time between two questions of one client."""
    replay_days: float = Field(default=30.0, gt=0)
    """How long the ids of answered questions are remembered."""


class Offline(_Section):
    """Engine packed, on S1: how many offline parts of questions are kept ready, and the lockout's window."""

    packs: int = Field(default=4, ge=0, le=32)
    """For identify: the products of all blocks and the material of one tournament each."""
    light_packs: int = Field(default=4, ge=0, le=32)
    """For verify."""
    lockout_window_s: float = Field(default=86_400.0, gt=0)
    """After this time all counters of the lockout begin anew."""


class WorkersConfig(_Section):
    """The processes that do the arithmetic. 0: one for each core.

    Backend `dask` sends the work to the cluster at `scheduler` (host:port), whose workers see the blocks under the same
    path, get masked numbers, and have to be kept like the server itself.
    """

    count: int = Field(default=0, ge=0, le=1024)
    backend: Literal["loky", "threading", "dask"] = "loky"
    scheduler: str | None = None

    @model_validator(mode="after")
    def _scheduler_for_a_cluster(self) -> WorkersConfig:
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ValueError("backend dask and scheduler belong together")
        return self

    @property
    def number(self) -> int:
        """How many there are to be."""
        return self.count or len(os.sched_getaffinity(0))


class Metrics(_Section):
    """Prometheus metrics over HTTP, if an address is given. They name methods and error codes, never a client."""

    listen: Address | None = None


class Log(_Section):
    """JSON lines on the standard error stream."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class ServerConfig(_Section):
    """One server. Paths are relative to the folder of the file."""

    role: Literal["s1", "s2"]
    listen: Address
    data: Path
    keys: Keys
    tls: Tls | None = None
    peer: Peer = Peer()
    collection: Collection
    limits: Limits = Limits()
    budget: Budget = Budget()
    offline: Offline = Offline()
    workers: WorkersConfig = WorkersConfig()
    metrics: Metrics = Metrics()
    log: Log = Log()

    @property
    def party(self) -> Party:
        """Which of the two servers this is."""
        return Party[self.role.upper()]

    @property
    def clients_file(self) -> Path:
        """S1's list of client credentials."""
        return self.data / "clients.json"

    @model_validator(mode="after")
    def _fits_its_role(self) -> ServerConfig:
        if self.role == "s1" and self.peer.address is None:
            raise ValueError("peer.address is missing: S1 connects to S2")
        if self.role == "s2" and self.peer.address is not None:
            raise ValueError("peer.address is not for S2: S1 connects to it")
        return self

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


_PATHS = (("data",), ("keys", "public"), ("keys", "share"), ("tls", "cert"), ("tls", "key"), ("tls", "clients_ca"),
          ("peer", "certificate"))  # fmt: skip


def load(path: Path) -> ServerConfig:
    """Read a configuration file. Raises `BadConfig` that names the file and the key, never the value."""
    body = settings.read(path)
    for place in _PATHS:
        _relative_to(path.parent, body, place)
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
