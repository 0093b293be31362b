"""`pura bench`: each command is imported when it is called, so that listing them needs none of their packages."""

from __future__ import annotations

import importlib

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "speed": ("pura_bench.speed.cli:speed", "Both engines and the plaintext limit: time, bytes, rounds, memory."),
    "accuracy": ("pura_bench.accuracy.cli:accuracy", "Recognition in floats, quantised, and through encryption."),
    "load": ("pura_bench.load:main", "Many clients at once: answers, refusals, latency, memory."),
    "peers": ("pura_bench.peers.cli:peers", "Other encrypted matchers on the same gallery, side by side."),
    "security": ("pura_bench.security.cli:security", "Replays attacks against plaintext and encrypted deployments."),
    "report": ("pura_bench.report.cli:report", "One HTML file of all results, and the figures of README."),
    "micro": ("pura_bench.micro:main", "The primitives and one published query, beside phe."),
    "views": ("pura_bench.views.__main__:main", "Whether each server's view can be told from a simulated one."),
    "exactness": ("pura_bench.exactness:main", "Engine packed against plain integers, on galleries of all kinds."),
    "ot": ("pura_bench.ot:main", "OT extension: CPU for one OT on each side."),
}
"""Name -> (module:attribute, help)."""


class _Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        try:
            loaded = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            missing = (error.name or "").split(".")[0]
            if missing == "pura_bench":
                raise click.ClickException(f"this version has no `pura bench {name}`") from error
            raise click.ClickException(
                f"`pura bench {name}` needs the package {missing or error}: pip install 'pura[bench]'"
            ) from error
        assert isinstance(loaded, click.Command)
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy)
def bench() -> None:
    """Measure speed, accuracy, peers and security, and report them.

    Every figure comes with the machine, the versions, the seed and the command. Nothing is downloaded but by `peers`,
    into the user's cache, and only when asked.
    """
