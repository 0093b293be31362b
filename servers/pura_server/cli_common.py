"""What the commands of `pura-server` share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from pura.commands import ERROR
from pura.errors import PuraError

_P = ParamSpec("_P")


def one_line_errors(command: Callable[_P, None]) -> Callable[_P, None]:
    """Turns typed errors into one line with their code, and exit status 2."""

    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except PuraError as error:
            click.echo(f"error: {error} [{error.code}]", err=True)
            click.get_current_context().exit(ERROR)

    return wrapped


def path_type(*, folder: bool = False) -> click.Path:
    """A file or a folder, as a `Path`."""
    return click.Path(path_type=Path, dir_okay=folder, file_okay=not folder)


def day(seconds: int) -> str:
    """A date for a table, from seconds since 1970."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
