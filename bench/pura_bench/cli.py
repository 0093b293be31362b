"""`pura bench`: each command is imported when it is called, so that listing them needs none of their packages."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "speed": ("pura_bench.speed.cli:speed", "Both engines and the plaintext limit: time, bytes, rounds, memory."),
    "accuracy": (
        "pura_bench.accuracy.cli:accuracy",
        "Recognition in floats, quantised, through encryption; and topics.",
    ),
    "load": ("pura_bench.load:main", "Many clients at once: answers, refusals, latency, memory."),
    "soak": ("pura_bench.soak.cli:soak", "Two real servers under faults for a long time."),
    "fuzz": ("pura_bench.fuzz.run:fuzz", "Nearly right bytes for everything that reads bytes from outside."),
    "hostile": (
        "pura_bench.hostile.measure:main",
        "An honest client beside ones that want S1's time and memory.",
    ),
    "peers": ("pura_bench.peers.cli:peers", "Other encrypted matchers on the same gallery, side by side."),
    "security": ("pura_bench.security.cli:security", "Replays attacks against plaintext and encrypted deployments."),
    "report": ("pura_bench.report.cli:report", "One HTML file of all results, and the figures of README."),
    "micro": ("pura_bench.micro:main", "The primitives and one published query, beside phe."),
    "exactness": ("pura_bench.exactness:main", "Answers against plain integers, on galleries of all kinds."),
    "liveness": ("pura_bench.liveness.cli:liveness", "How often the gate before encryption errs."),
    "gpu": ("pura_bench.gpu:main", "What a server multiplies: numpy against torch on a GPU."),
    "large": ("pura_bench.large:main", "One large gallery of engine prepared: start, memory, roster, questions."),
    "enrol": ("pura_bench.enrol:main", "Enrolling, and what it does to questions beside it."),
}
"""Name -> (module:attribute, help)."""


class Lazy(click.Group):
    """A group whose commands are imported when they are called. lazy: name -> (module:attribute, help)."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.lazy:
            return None
        module, _, attribute = self.lazy[name][0].partition(":")
        try:
            loaded = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            missing = (error.name or "").split(".")[0]
            if missing == "pura_bench":
                raise click.ClickException(f"this version has no `pura bench {name}`") from error
            raise click.ClickException(
                f"`{ctx.command_path} {name}` needs the package {missing or error}: pip install 'pura-match[bench]'"
            ) from error
        assert isinstance(loaded, click.Command)
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


@click.group(cls=Lazy, lazy=COMMANDS)
def bench() -> None:
    """Measure speed, accuracy, peers and security, and report them.

    Every figure comes with the machine, the versions, the seed and the command. Nothing is downloaded but by `peers`,
    into the user's cache, and only when asked.
    """
