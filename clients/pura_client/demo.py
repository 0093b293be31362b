"""The whole job on real photos, on one machine: keys, two servers with mTLS, enrol, identify, verify, refuse, forget.

32 people of the ORL database are enrolled, 8 are not. Photos that are asked about were not enrolled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pura.crypto.keys import write_keys
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import generate
from pura.errors import NotReady, WouldOverwrite
from pura.face.photos import orl_faces
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE_MIRRORED
from pura.ids import Engine
from pura_client import report
from pura_client.answers import Decision
from pura_client.processes import free_ports, server_command, two_servers
from pura_client.session import Client, connect

MARK = ".pura-demo"
"""Names a folder that the demo made and may replace."""

QUESTIONS_A_DAY = 1000
"""The demo asks some 90."""

Photos = dict[str, list[NDArray[Any]]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much the demo does. Each person's first photos are enrolled, the next ones asked about."""

    enrolled: int
    photos_each: int
    strangers: int
    verified: int
    """How many people are verified under their own label, and as many of them under another's."""
    bits: int
    note: str = ""


PLANS = {
    Engine.PREPARED: Plan(enrolled=32, photos_each=3, strangers=8, verified=32, bits=3072),
    Engine.PUBLISHED: Plan(
        enrolled=8,
        photos_each=1,
        strangers=4,
        verified=4,
        bits=2048,
        note="The published protocols take some 0.3 s an entry and question, so this run enrols 8 people with one "
        "photo each under a 2048-bit key, instead of 32 with three under 3072 bits.",
    ),
}


@dataclasses.dataclass
class Cost:
    """Bytes of the messages of one client's calls."""

    sent: int = 0
    received: int = 0


class Wiretap(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Counts the bytes of all calls, and keeps the last message of each method."""

    def __init__(self) -> None:
        self.cost = Cost()
        self.last: dict[str, Any] = {}

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        """Count a call with one answer."""
        self._sent(details, request)
        call = continuation(details, request)
        if call.exception() is None:
            self.cost.received += call.result().ByteSize()
        return call

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        """Count a call with many answers."""
        self._sent(details, request)
        for page in continuation(details, request):
            self.cost.received += page.ByteSize()
            yield page

    def _sent(self, details: Any, request: Any) -> None:
        self.last[details.method.rpartition("/")[2]] = request
        self.cost.sent += request.ByteSize()


def deployed(out: Path, say: Callable[[str], None]) -> Path:
    """A deployment in a folder, the demo's own if it ran there, and the `client.toml` of its desk. Its servers do not
    run. Raises `WouldOverwrite` for a folder that is something else."""
    client = out / "desk" / "client.toml"
    if (out / MARK).exists() and client.exists():
        return client
    made = Demo(out, Engine.PREPARED, None, Console(quiet=True))
    say(f"making keys and configuration in {out} (some seconds)")
    made.deploy()
    return client


class Demo:
    """One run. `run` gives the exit status: 0 when every decision was right, 1 when one was not."""

    def __init__(self, out: Path, engine: Engine, bits: int | None, console: Console) -> None:
        plan = PLANS[engine]
        self.plan = plan if bits is None else dataclasses.replace(plan, bits=bits)
        self.out, self.engine, self.console = out, engine, console
        self.steps: list[tuple[str, float]] = []
        self.rows: list[report.Row] = []
        self.tap = Wiretap()

    def run(self) -> int:
        """Everything, in order. Raises the typed error of the step that failed."""
        self._clear()
        with self._step("weights and photos (84 MB the first time)"):
            photos, faces = load_photos()
        people = list(photos)[: self.plan.enrolled]
        strangers = list(photos)[-self.plan.strangers :]
        self._keys_and_configuration()
        s1, s2, client = self.out / "s1" / "s1.toml", self.out / "s2" / "s2.toml", self.out / "desk" / "client.toml"
        with contextlib.ExitStack() as stack:
            with self._step("two server processes, mTLS between all"):
                stack.enter_context(two_servers(s1, s2, client))
            session = stack.enter_context(connect(client, faces=faces, interceptors=[self.tap]))
            each = self.plan.photos_each
            self._enrol(session, [(photos[who][:each], who) for who in people])
            self._ask(session, photos, people, strangers)
        self._finish(photos, people)
        return 1 if any(not row.right for row in self.rows) else 0

    def deploy(self) -> None:
        """Keys and configuration only."""
        self._clear()
        self._keys_and_configuration()

    # --- steps ----------------------------------------------------------------------------------

    def _clear(self) -> None:
        if self.out.exists():
            if not (self.out / MARK).exists():
                raise WouldOverwrite(f"{self.out} exists and was not made by the demo; name another folder")
            shutil.rmtree(self.out)
        self.out.mkdir(parents=True)
        (self.out / MARK).touch()

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        with self.console.status(name):
            yield
        self._done(name, time.monotonic() - started)

    def _done(self, name: str, seconds: float) -> None:
        self.steps.append((name, seconds))
        self.console.print(f"[green]done[/] {name}  [dim]{seconds:.1f} s[/]")

    def _keys_and_configuration(self) -> None:
        with self._step(f"key ceremony ({self.plan.bits} bits)"):
            write_keys(generate(self.plan.bits, SystemRng(), self.engine), self.out / "keys")
        with self._step("development CA, credentials and configuration of both servers"):
            self._init()

    def _init(self) -> None:
        s1_port, s2_port = free_ports(2)
        command = server_command(
            "init", "--out", str(self.out), "--keys", str(self.out / "keys"),
            "--s1-port", str(s1_port), "--s2-port", str(s2_port), "--questions-a-day", str(QUESTIONS_A_DAY),
            *(["--allow-leaky"] if self.engine is Engine.PUBLISHED else []),
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotReady(f"pura-server init failed: {done.stderr.strip() or done.stdout.strip()}")

    def _enrol(self, session: Client, items: Sequence[tuple[list[NDArray[Any]], str]]) -> None:
        name = f"enrolled {len(items)} people by the mean of {self.plan.photos_each} photos each"
        started = time.monotonic()
        with self._bar() as bar:
            task = bar.add_task("enrolling", total=len(items))
            outcomes = session.enroll_many(items, lambda _: bar.advance(task))
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        self._done(name, time.monotonic() - started)

    def _ask(self, session: Client, photos: Photos, people: Sequence[str], strangers: Sequence[str]) -> None:
        first = self.plan.photos_each
        questions: list[tuple[str, str | None, NDArray[Any]]] = []
        questions += [(who, None, photos[who][first]) for who in people]
        questions += [(who, who, photos[who][first + 1]) for who in people[: self.plan.verified]]
        others = [*people[1:], people[0]]
        questions += [(who, other, photos[who][first + 1]) for who, other in zip(people, others, strict=True)][
            : self.plan.verified // 2
        ]
        questions += [(who, None, photos[who][0]) for who in strangers]
        started = time.monotonic()
        with self._bar() as bar:
            task = bar.add_task("asking", total=len(questions) + 1)
            for truth, claimed, photo in questions:
                self._question(session, truth, claimed, photo, enrolled=truth in people)
                bar.advance(task)
            session.forget(people[0])
            self._question(session, people[0], None, photos[people[0]][first], enrolled=False, after="erased, ")
            bar.advance(task)
        self._done(f"asked {len(questions) + 1} questions", time.monotonic() - started)

    def _question(
        self,
        session: Client,
        truth: str,
        claimed: str | None,
        photo: NDArray[Any],
        *,
        enrolled: bool,
        after: str = "",
    ) -> None:
        self.tap.cost = Cost()
        started = time.monotonic()
        decision = session.identify(photo) if claimed is None else session.verify(photo, claimed)
        ms = (time.monotonic() - started) * 1000
        if claimed is None:
            right = decision == Decision(True, truth, (truth,)) if enrolled else not decision.match
            decided = (decision.label or "somebody") if decision.match else "nobody"
            question = "who is this?"
        else:
            right = decision.match == (claimed == truth)
            decided = "yes" if decision.match else "no"
            question = f"is this {claimed}?"
        truth += f" ({after}not enrolled)" if not enrolled else ""
        cost = self.tap.cost
        self.rows.append(report.Row(photo, truth, question, decided, right, ms, cost.sent, cost.received))

    def _bar(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self.console, transient=True)

    # --- the end --------------------------------------------------------------------------------

    def _finish(self, photos: Photos, people: Sequence[str]) -> None:
        query = self.tap.last["Identify"].query
        s1 = [report.Seen.of("a question: encrypted template", query.ciphertexts)]
        s1 += [report.Seen.of("a stored label", self.tap.last["Enroll"].enrolments[0].label)]
        run = report.Run(
            engine=self.engine.value,
            bits=self.plan.bits,
            enrolled=[(who, photos[who][0]) for who in people],
            photos_each=self.plan.photos_each,
            rows=self.rows,
            views=[
                ("S1, the gateway", s1 + report.kept_by(self.out / "s1")),
                ("S2, its peer", report.kept_by(self.out / "s2")),
            ],
            steps=self.steps,
            note=self.plan.note,
        )
        file = self.out / "report.html"
        file.write_text(report.render(run), "utf-8")
        self.console.print(_table(self.rows))
        if run.note:
            self.console.print(run.note)
        total = len(run.rows)
        colour = "red" if run.wrong else "green"
        self.console.print(f"[bold {colour}]{total - run.wrong} of {total} decisions right[/]; report: {file}")


def _table(rows: Sequence[report.Row]) -> Table:
    table = Table("who it is", "question", "decision", "", title="Every question")
    for name in ("ms", "sent", "received"):
        table.add_column(name, justify="right")
    for row in rows:
        mark = "[green]right[/]" if row.right else "[bold red]WRONG[/]"
        cost = (f"{row.ms:.0f}", f"{row.sent:,}", f"{row.received:,}")
        table.add_row(row.truth, row.question, row.decided, mark, *cost)
    return table


def load_photos() -> tuple[Photos, FacePipeline]:
    """All ORL photos by person, and the embedder of new collections; both are fetched on first use."""
    faces = FacePipeline(SFACE_MIRRORED)
    faces.load()
    return {f"Person {i:02d}": list(photos) for i, photos in enumerate(orl_faces(), start=1)}, faces
