"""Where the secret that opens sealed files comes from: a terminal, a file, or a command that prints it.

A command is for a KMS, a TPM, or systemd's credentials. The secret is never an argument, and never in the environment
of this process or of a child.
"""

from __future__ import annotations

import getpass
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pura.errors import SecretNeeded

LEAST = 12
"""Characters of a new passphrase, at least."""
_COMMAND_S = 120.0
_LONGEST = 1 << 16


def of_file(path: Path) -> bytes:
    """The contents of a key file, without a line break at their end. Raises `SecretNeeded`."""
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o007:
            raise SecretNeeded(f"{path.name} may be read by everybody on this machine; give it mode 0600")
        with path.open("rb") as file:
            return _fit(file.read(_LONGEST + 1), path.name)
    except OSError as error:
        raise SecretNeeded(f"{path.name} cannot be read", detail=str(error)) from error


def of_command(command: Sequence[str]) -> bytes:
    """What a command prints, without a line break at its end; it reads nothing. Raises `SecretNeeded`."""
    name = os.path.basename(command[0])
    try:
        done = subprocess.run(  # an argument list, never a shell
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SecretNeeded(f"{name}, which should print the secret, did not run to its end") from error
    if done.returncode:
        raise SecretNeeded(f"{name}, which should print the secret, ended with status {done.returncode}")
    return _fit(done.stdout, name)


def of_terminal(prompt: str) -> bytes:
    """A passphrase, typed. Raises `SecretNeeded` where nobody is there to type it."""
    return _fit(_typed(prompt), "the passphrase")


def new_of_terminal(prompt: str) -> bytes:
    """A new passphrase, typed twice. Raises `SecretNeeded` where it is short, or not typed the same twice."""
    first = _typed(prompt)
    if len(first) < LEAST:
        raise SecretNeeded(f"a passphrase has at least {LEAST} characters: four or five words drawn by dice are good")
    if _typed(f"{prompt}, once more") != first:
        raise SecretNeeded("the two passphrases differ; nothing was written")
    return first


def _typed(prompt: str) -> bytes:
    if sys.stdin is None or not sys.stdin.isatty():
        raise SecretNeeded("a sealed file needs its passphrase, and nobody is at a terminal: name a file or a command")
    return getpass.getpass(f"{prompt}: ").encode()


def _fit(secret: bytes, name: str) -> bytes:
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(secret) <= _LONGEST:
        raise SecretNeeded(f"{name}: there is no secret, or too long a one")
    return secret
