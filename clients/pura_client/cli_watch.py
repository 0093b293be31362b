"""`pura watch`: who comes and goes before a camera."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from pura.ids import GateKind
from pura_client import config as client_config
from pura_client.cli_common import connected
from pura_client.session import connect

PER_SECOND = 5.0


@click.command()
@click.argument("source", metavar="CAMERA|FILE|URL")
@click.option(
    "--fps",
    type=click.FloatRange(0.2, 60),
    default=PER_SECOND,
    show_default=True,
    help="Frames a second that are looked at, at most.",
)
@connected
def watch(source: str, fps: float, config: Path, insecure: bool, as_json: bool) -> None:
    """Follow the faces of a camera (its number), a film or a stream (rtsp://...), and ask who they are.

    A person is asked about once, with the best frame, however long they stay: questions cost budget. Events are told as
    they come, with --json as JSON lines: appeared, identified, unusable, left, summary; and, where the configuration
    has a gate, do (what a person is asked to do) and refused (with reasons, and then nothing is asked).
    """
    from pura_client.watching import watch as watched  # which needs OpenCV

    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    settings = client_config.load(config)
    with ExitStack() as open_:
        client = open_.enter_context(connect(settings, insecure=insecure))
        keeper = None
        if settings.gate is not GateKind.NONE:
            from pura_client.gatekeeper import keeper_for  # which needs the extra

            keeper = open_.enter_context(keeper_for(settings.gate, client))
        watched(client, source, fps, lambda event: _tell(event, as_json), lambda: bool(stopped), keeper)


def _tell(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event))
        return
    match event:
        case {"event": "identified", "error": code, "message": message, "track": track}:
            click.echo(f"{track}: not asked: {message} [{code}]")
        case {"event": "identified", "track": track, "match": True, "label": label}:
            click.echo(f"{track}: {label if label is not None else '(a label of another key)'}")
        case {"event": "identified", "track": track}:
            click.echo(f"{track}: nobody who is enrolled")
        case {"event": "appeared", "track": track, "at_s": at_s}:
            click.echo(f"{track}: somebody at {at_s} s")
        case {"event": "unusable", "track": track}:
            click.echo(f"{track}: no frame was good enough to ask")
        case {"event": "do", "step": step}:
            click.echo(f"please {step}")
        case {"event": "refused", "track": track, "reasons": reasons}:
            click.echo(f"{track}: not asked: {'; '.join(reasons)}")
        case {"event": "left", "track": track, "for_s": for_s}:
            click.echo(f"{track}: left after {for_s} s")
        case {"event": "summary"}:
            click.echo(
                f"{event['frames']} frames ({event['frames_per_second']} a second), {event['tracks']} people, "
                f"{event['questions']} questions ({event['questions_per_minute']} a minute)"
            )
