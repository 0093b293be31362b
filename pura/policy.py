"""A threshold that was measured: for which model, on which photos, with how many false matches.

`pura bench accuracy` writes such files; `pura-server init --policy FILE` takes the threshold from one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pura import settings
from pura.errors import StorageFull
from pura.files import PUBLIC, replace_file


class MeasuredGroup(BaseModel):
    """The errors within one group of people at the same threshold; intervals at 95 % draw people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    people: int
    fmr: float
    fmr_interval: tuple[float, float]
    fnmr: float
    fnmr_interval: tuple[float, float]


class Measured(BaseModel):
    """Where a threshold comes from, and who bears its errors. Intervals are at 95 %."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_set: str
    people: int | None = None
    impostor_pairs: int
    false_matches: int
    fmr: float
    fmr_interval: tuple[float, float]
    fmr_interval_method: str
    genuine_pairs: int
    fnmr: float
    fnmr_interval: tuple[float, float]
    fnmr_interval_method: str = "Wilson"
    group: tuple[MeasuredGroup, ...] = ()


class Policy(BaseModel):
    """From which score on two faces count as one person's.

    threshold: the least cosine. tau: the same for templates, the largest squared distance at `scale`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str
    embedder_sha256: str | None = None
    dimension: int
    scale: int
    threshold: float
    tau: int = Field(ge=0)
    wanted_fmr: float
    measured: Measured

    def write(self, path: Path) -> None:
        """Write a TOML file, all of it or nothing. Raises `StorageFull`."""
        body = self.model_dump(mode="json", exclude_none=True)
        measured: dict[str, Any] = body.pop("measured")
        groups: list[dict[str, Any]] = measured.pop("group")
        lines = [
            "# A measured threshold: pura-server init --policy FILE",
            *_toml(body),
            "",
            "[measured]",
            *_toml(measured),
            *(line for group in groups for line in ("", "[[measured.group]]", *_toml(group))),
        ]
        try:
            replace_file(path, ("\n".join(lines) + "\n").encode(), PUBLIC)
        except OSError as error:
            raise StorageFull(f"{path} could not be written", detail=str(error)) from error


def _toml(table: dict[str, Any]) -> list[str]:
    # JSON's strings, numbers and lists are TOML's too
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]


def read(path: Path) -> Policy:
    """A policy file. Raises `BadConfig` naming what is wrong with it."""
    return settings.validated(Policy, settings.read(path), path)
