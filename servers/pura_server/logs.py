"""JSON lines on the standard error stream. Only fields named here are written, and only plain values of some length:
no bytes, no arrays, no message of an unexpected exception can reach a log, whatever a caller passes."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from pura_server.lines import Lines

FIELDS = frozenset(
    """event level time role method client request code detail message ms waited_ms rounds sent received entries batch
    refused removed version engine key_id n_bits dimension workers listen error frames logger attempt epoch
    certificate address reason times
    """.split()  # noqa: SIM905
)
_LONGEST = 300
_STDERR = 2
_lines: Lines | None = None


def only_known_fields(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Processor: replace what is not on the list or not a plain value."""
    return {key: _plain(value) if key in FIELDS else "(left out)" for key, value in event.items()}


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[:_LONGEST] + "…"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return f"({type(value).__name__})"


def frames_of(error: BaseException) -> list[str]:
    """Where an unexpected error came from, without its message, which may quote what it choked on."""
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in
            traceback.extract_tb(error.__traceback__)[-8:]]  # fmt: skip


class _Library(logging.Handler):
    """What libraries log: where and how bad, but not their text."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        place = f"{record.module}:{record.lineno}"
        structlog.get_logger().log(record.levelno, "library", logger=record.name, error=kind, detail=place)


def configure(level: str, role: str) -> None:
    """Set up this process's logs."""
    global _lines
    lines = _lines = Lines(_STDERR)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            only_known_fields,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(role=role)
    root = logging.getLogger()
    root.handlers[:] = [_Library()]
    root.setLevel(max(number, logging.WARNING))
    logging.captureWarnings(True)


def dropped() -> int:
    """How many lines of this process's log were lost."""
    return 0 if _lines is None else _lines.dropped


def flush(seconds: float = 2.0) -> None:
    """Wait until the lines so far are written, but not long: nobody may be reading."""
    if _lines is not None:
        _lines.flush(seconds)


def _dump(value: object, **_: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "))


def logger() -> structlog.typing.FilteringBoundLogger:
    """The logger of this process."""
    return structlog.get_logger()  # type: ignore[no-any-return]
