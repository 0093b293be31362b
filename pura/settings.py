"""The TOML files of programs: every mistake is a `BadConfig` that names the file and the key, never the value."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pura.errors import BadConfig

M = TypeVar("M", bound=BaseModel)


def read(path: Path, hint: str = "") -> dict[str, Any]:
    """The tables of a file. `hint` goes behind "cannot be read". Raises `BadConfig`."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read{hint}", detail=str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not a TOML file") from error


def validated(model: type[M], body: dict[str, Any], path: Path) -> M:
    """`body` as a model. Raises `BadConfig` with the place and the rule of the first mistake: values may be secrets."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadConfig(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
