"""The TOML files of programs: every mistake is a `BadConfig` that names the file and the key, never the value."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pura.errors import BadConfig

M = TypeVar("M", bound=BaseModel)


def read(path: Path, hint: str = "") -> dict[str, Any]:
    """The tables of a file. `hint` goes behind "cannot be read". Raises `BadConfig`."""
    try:
        body = tomllib.loads(path.read_text("utf-8-sig"))  # some editors begin with a mark of the byte order
    except OSError as error:
        raise BadConfig(f"{path} cannot be read{hint}", detail=str(error)) from error
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"at line \d+, column \d+|at end of document", str(error))
        raise BadConfig(f"{path} is not a TOML file{': see ' + where[0] if where else ''}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path} is not a TOML file: save it as UTF-8") from error
    except ValueError as error:  # an integer of thousands of digits, or a path with a NUL
        raise BadConfig(f"{path} cannot be read as TOML: a number or a name in it is too long") from error
    except RecursionError as error:
        raise BadConfig(f"{path} is not a TOML file: its lists and tables lie too deep in each other") from error
    _without_nul(body, path)
    return body


def _without_nul(value: Any, path: Path, place: str = "") -> None:
    """Raises `BadConfig` for a text with a NUL, which no path and no address may have."""
    if isinstance(value, str) and "\0" in value:
        raise BadConfig(f"{path}: {place} has a NUL character in it")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        _without_nul(one, path, f"{place}.{name}" if place else str(name))


def validated(model: type[M], body: dict[str, Any], path: Path) -> M:
    """`body` as a model. Raises `BadConfig` with the place and the rule of the first mistake: values may be secrets."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadConfig(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
