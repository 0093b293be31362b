"""What the commands of `pura` share: the connection's options, JSON for programs, and how errors are told."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, ParamSpec

import click

from pura.commands import ERROR
from pura.errors import PuraError
from pura_client import config as client_config

_P = ParamSpec("_P")


def crash(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
    """Tell of an unexpected error, and end with 2."""
    traceback.print_exception(kind, error, tb)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ERROR)  # the interpreter itself would end with 1


def answers(command: Callable[_P, None]) -> Callable[_P, None]:
    """Adds --json, and turns typed errors into one line with their code and exit status 2."""

    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except PuraError as error:
            told(error, as_json=bool(kwargs["as_json"]))

    return wrapped


def told(error: PuraError, *, as_json: bool = False) -> NoReturn:
    """Tell of an error in one line, with its code, and end the command with 2."""
    if as_json:
        click.echo(json.dumps({"error": error.code, "message": str(error)}))
    else:
        click.echo(f"error: {error} [{error.code}]", err=True)
    click.get_current_context().exit(ERROR)


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar=client_config.ENV,
    default=client_config.DEFAULT_PATH,
    show_default=True,
    help=f"The client's configuration, or a folder of several collections; also by ${client_config.ENV}.",
)


def connected(command: Callable[_P, None]) -> Callable[_P, None]:
    """Adds --config, --collection and --insecure on top of `answers`."""

    @click.option(
        "--collection",
        help=f"One of several collections: CONFIG/NAME/client.toml; also by ${client_config.COLLECTION_ENV}.",
    )
    @click.option("--insecure", is_flag=True, help="No TLS; for a server on this machine only.")
    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        chosen, config = kwargs.pop("collection"), kwargs["config"]
        assert isinstance(config, Path)
        kwargs["config"] = client_config.file_of(config, None if chosen is None else str(chosen))
        command(*args, **kwargs)

    return answers(config_option(wrapped))


def show(as_json: bool, body: dict[str, Any], *lines: str) -> None:
    """One answer, for a program or for people."""
    click.echo(json.dumps(body) if as_json else "\n".join(lines))


largest = click.option("--largest", is_flag=True, help="Take the largest face when there are several.")
