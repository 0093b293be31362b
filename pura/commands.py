"""How the programs begin and end: 0 and 1 are answers, and whatever goes wrong is 2.

What they write is for nobody else to change.
The status is the decision's, whatever becomes of the output: a reader may go away, a disk may be full, a terminal may
not have the characters of a name.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, TextIO

import click

ERROR = 2
_NOT_FOR_OTHERS = 0o022
"""Nobody else may write to what a program makes, also under a umask of nothing."""

Crash = Callable[[type[BaseException], BaseException, TracebackType | None], None]


def run(program: click.Group, crash: Crash) -> NoReturn:
    """Run a program's command line. `crash` tells of an unexpected error, and ends the process with `ERROR`: the
    interpreter itself would end with 1."""
    sys.excepthook = crash
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)
    os.umask(os.umask(_NOT_FOR_OTHERS) | _NOT_FOR_OTHERS)
    try:
        status = program.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = ERROR
    except click.Abort:
        click.echo("stopped", err=True)
        status = ERROR
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    sys.exit(status or 0)


class _Lenient:
    """A text stream whose writing never fails: what it does not have is replaced, and what nobody reads is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """From now on, and for what is still in the buffer when the interpreter ends, nobody reads."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _lenient(stream: TextIO | None) -> Any:
    if stream is None:  # it was closed before we began
        return io.StringIO()
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return _Lenient(stream)
