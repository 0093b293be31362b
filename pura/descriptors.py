"""Out of file descriptors: nobody's damage and nobody's fault. It passes when others close theirs, so it is
`Overloaded` wherever it strikes, and this is the one place that says so."""

from __future__ import annotations

import errno
import os

from pura.errors import Overloaded

_NONE_LEFT = (errno.EMFILE, errno.ENFILE)
_CANNOT_OPEN = "SQLITE_CANTOPEN"


def exhausted(error: BaseException | None) -> Overloaded | None:
    """The error to raise instead, if it came of that, be it through others; None if it did not."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NONE_LEFT:
            return Overloaded(detail="out of file descriptors")
        # SQLite does not say why it cannot open a file
        if str(getattr(error, "sqlite_errorname", "")).startswith(_CANNOT_OPEN) and not _one_left():
            return Overloaded(detail="out of file descriptors")
        error = error.__cause__
    return None


def _one_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in _NONE_LEFT
    return True
