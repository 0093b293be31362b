"""Runs commands one after the other, each in a terminal of its own, where whatever asks for a passphrase gets it.

A process of its own that has loaded the two programs already: each command is a fork of it, as a shell's would be, and
does not load them anew. Reads JSON lines (cwd, command, passphrase), writes JSON lines (status, text).
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import sys
import time

from pura_client import cli as client
from pura_server import cli as server

_COMMAND_S = 300.0
_PROGRAMS = {"pura": client.main, "pura-server": server.main}


def run(command: str, cwd: str, passphrase: str) -> tuple[int, str]:
    pid, terminal = pty.fork()
    if pid == 0:
        _child(command, cwd)
    text, answered = b"", 0
    ends = time.monotonic() + _COMMAND_S
    while time.monotonic() < ends:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            more = os.read(terminal, 4096)
        except OSError:  # its end was closed
            break
        if not more:
            break
        text += more
        asked = len(re.findall(rb"passphrase[^\n]*: ", text))
        if asked > answered and text.endswith(b": "):
            answered = asked
            os.write(terminal, passphrase.encode() + b"\n")
        elif text.endswith(b"]: "):  # a question with a default
            os.write(terminal, b"\n")
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode(errors="replace").replace("\r\n", "\n")


def _child(command: str, cwd: str) -> None:
    try:
        os.chdir(cwd)
        sys.stdin, sys.stdout, sys.stderr = (open(fd, mode) for fd, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115
        words = shlex.split(command)
        if words[0] not in _PROGRAMS:
            os.execv("/bin/sh", ["sh", "-c", command])
        sys.argv = words
        _PROGRAMS[words[0]]()
    except SystemExit as error:
        os._exit(int(error.code or 0))
    finally:
        os._exit(99)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        status, text = run(**json.loads(line))
        sys.stdout.write(json.dumps({"status": status, "text": text}) + "\n")
        sys.stdout.flush()
