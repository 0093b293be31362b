"""How the programs end: 0 and 1 are answers, and whatever goes wrong is 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

import click

ERROR = 2

Crash = Callable[[type[BaseException], BaseException, TracebackType | None], None]


def run(program: click.Group, crash: Crash) -> NoReturn:
    """Run a program's command line. `crash` tells of an unexpected error, and ends the process with `ERROR`: the
    interpreter itself would end with 1."""
    sys.excepthook = crash
    try:
        status = program.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = ERROR
    except click.Abort:
        click.echo("stopped", err=True)
        status = ERROR
    sys.exit(status or 0)
