"""Follows docs/operations.md: the lines of its console blocks, in order, each in the folder of whom it is for.

WHO$ command          run in WHO's folder; `&` at its end: a server, which stays until `stop`
ONE -> TWO: file      ONE hands a file to TWO
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from machines import Machine
from waiting import PATIENCE_S

MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN, _HAND = re.compile(r"(\w+)\$ (.*)"), re.compile(r"(\w+) -> (\w+): (.*)")


def section(title: str, text: str | None = None) -> list[str]:
    """The lines of all console blocks below a heading, up to the next one of its level. Raises `KeyError`."""
    return [line for block in blocks(title, text) for line in block]


def blocks(title: str, text: str | None = None) -> list[list[str]]:
    """The same, block by block."""
    text = MANUAL.read_text("utf-8") if text is None else text
    level, lines = title.split(" ")[0], text.splitlines()
    if title not in lines:
        raise KeyError(title)
    body: list[str] = []
    for line in lines[lines.index(title) + 1 :]:
        if re.match(rf"#{{2,{len(level)}}} ", line):
            break
        body.append(line)
    return [block.splitlines() for block in _BLOCK.findall("\n".join(body) + "\n")]


@dataclasses.dataclass
class People:
    """Everybody who has a part, each with a folder below `root`."""

    root: Path
    change: Callable[[str], str]
    """What a line is instead: host names of the manual are no hosts here."""
    machines: Mapping[str, Machine] = dataclasses.field(default_factory=dict)
    """Where somebody works, who does not work here."""
    passphrase: str = "correct horse battery staple"

    def __post_init__(self) -> None:
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self.said: list[tuple[str, str]] = []
        """Each command, and what it printed."""
        self._terminals: dict[str | None, subprocess.Popen[str]] = {}

    def close(self) -> None:
        """Everybody goes home."""
        self.stop()
        for terminal in self._terminals.values():
            terminal.communicate(timeout=PATIENCE_S)

    def folder(self, who: str) -> Path:
        """Where somebody works."""
        path = self.root / who
        path.mkdir(exist_ok=True)
        if who in self.machines:
            path.chmod(0o700)
            self._give(path, who)
        return path

    def _give(self, path: Path, who: str) -> None:
        if who in self.machines:
            os.chown(path, self.machines[who].user, self.machines[who].user)

    def _there(self, who: str, *args: str) -> list[str]:
        """A Python program, on the machine of somebody."""
        command = [sys.executable, *args]
        return self.machines[who].command(command) if who in self.machines else command

    def follow(self, lines: list[str]) -> None:
        """Do what the lines say."""
        for line in lines:
            if found := _HAND.fullmatch(line):
                one, two, file = found.groups()
                given = self.folder(two) / Path(file).name
                shutil.copyfile(self.folder(one) / file, given)
                self._give(given, two)
            elif found := _RUN.fullmatch(line):
                self.run(found[1], self.change(found[2]))
            else:
                raise AssertionError(f"a line of the manual that says nothing: {line}")

    def run(self, who: str, command: str) -> str:
        """One command of somebody, to its end, or a server, which stays."""
        if command.endswith("&"):
            self.start(who, command.removesuffix("&"))
            return ""
        if command == "kill %1":
            assert self.stop(who) == [0], (self.folder(who) / "log").read_text()[-2000:]
            return ""
        status, text = self.type(who, command)
        self.said.append((command, text))
        assert status == 0, f"{who}$ {command}\n{text}"
        return text

    def start(self, who: str, command: str) -> None:
        """A server, with its log in its operator's folder."""
        with (self.folder(who) / "log").open("ab") as log:
            self.servers[who] = subprocess.Popen(
                self._there(who, "-m", "pura_server", *shlex.split(command)[1:]),
                cwd=self.folder(who),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def kill(self, who: str) -> None:
        """A server ends in the middle of whatever it does."""
        process = self.servers.pop(who)
        process.kill()
        process.wait()

    def stop(self, *who: str) -> list[int]:
        """Stop servers; their exit statuses."""
        found = [self.servers.pop(name) for name in who or list(self.servers)]
        for process in found:
            process.terminate()
        return [process.wait(PATIENCE_S) for process in found]

    def code(self, command: str) -> str:
        """The code that a command printed last."""
        for said, text in reversed(self.said):
            if said.startswith(command):
                return re.findall(r"(?m)^code: (\S+)$", text)[-1]  # type: ignore[no-any-return]
        raise AssertionError(f"nobody ran {command}")

    def type(self, who: str, command: str) -> tuple[int, str]:
        """A command in a terminal: its exit status, and what is on the screen."""
        line = {"command": command, "cwd": str(self.folder(who)), "passphrase": self.passphrase}
        terminal = self._terminal(who)
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        terminal.stdin.write(json.dumps(line) + "\n")
        terminal.stdin.flush()
        answer = json.loads(terminal.stdout.readline())
        return answer["status"], answer["text"]

    def _terminal(self, who: str) -> subprocess.Popen[str]:
        """The one of somebody's machine."""
        where = who if who in self.machines else None
        if where not in self._terminals:
            command = self._there(who, str(Path(__file__).with_name("terminal.py")))
            self._terminals[where] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self._terminals[where]
