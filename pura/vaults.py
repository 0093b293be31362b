"""Sealing on command lines and in configurations: `passphrase`, `file:PATH` or `command:WORDS`, and its vault."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from pura import passwords
from pura.crypto.vault import Secret, Vault
from pura.errors import SecretNeeded

HOW = "passphrase, file:PATH, or command:WORDS"
TYPED = "passphrase"

seal_option = click.option("--seal", metavar="HOW", help=f"Seal it: {HOW}, what a command prints, without a shell.")
unseal_option = click.option(
    "--unseal", metavar="HOW", help=f"What opens a sealed file: {HOW}.  [default: a passphrase is asked for]"
)


def sealing(how: str | None, what: str) -> Vault:
    """What seals `what` when it is written; None: as it is. Raises `SecretNeeded`."""
    if how is None:
        return Vault()
    source = _source(how)
    return Vault(source or (lambda: passwords.new_of_terminal(f"new passphrase for {what}")), sealing=True)


def opening(how: str | None, what: str) -> Vault:
    """What opens `what`; None: whoever is at the terminal. Raises `SecretNeeded`."""
    source = None if how is None else _source(how)
    return Vault(source or (lambda: passwords.of_terminal(f"passphrase of {what}")))


def check(how: str) -> str:
    """`how`, as a configuration has it. Raises `ValueError` for what is none of the three."""
    try:
        _source(how)
    except SecretNeeded as error:
        raise ValueError(str(error)) from error
    return how


def _source(how: str) -> Secret | None:
    """Where the secret comes from; None for a passphrase, which is asked for."""
    if how == TYPED:
        return None
    kind, _, rest = how.partition(":")
    if kind == "file" and rest:
        return lambda: passwords.of_file(Path(rest))
    if kind == "command":
        try:
            words = shlex.split(rest)
        except ValueError:
            words = []
        if words:
            return lambda: passwords.of_command(words)
    raise SecretNeeded(f"what seals a file is one of: {HOW}")
