"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

WIDTH = 150


def wide() -> Console:
    """The terminal, or 150 columns when the output goes to a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
