"""What a process that holds secrets does first: nothing of its memory, or of what it writes, is for others."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_SET_DUMPABLE = 4
_PRIVATE = 0o077


def keep_files_private() -> None:
    """What this process writes from now on is for its user only."""
    os.umask(os.umask(_PRIVATE) | _PRIVATE)


def keep_memory_private() -> None:
    """No core dump, neither into a file nor into a collector, and no debugger of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # the limit does not keep the kernel from piping a dump into a program; this does, until the next exec
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
