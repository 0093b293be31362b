"""The latest generation of the collection that a client has seen S2's signature of, kept across its runs.

By it a client notices servers that went back to an earlier gallery. The file, by default `client.state` beside
`client.toml`, holds nothing secret. If it is not there, or belongs to another collection, the client begins anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

from pura.errors import BadConfig
from pura.ids import CollectionId

_VERSION = 1
_MOST = 1 << 64


class Seen:
    """What has been seen of one collection. It only ever grows."""

    def __init__(self, path: Path | None, collection: CollectionId, s2_key: str) -> None:
        """`path`: the file, None to remember for this run only; `s2_key`: the pinned key of S2, in hexadecimal digits.

        Raises `BadConfig` when the file is damaged or cannot be written.
        """
        self.path = path
        self._keys = {"collection": collection.hex(), "s2_key": s2_key}
        self.generation = self._load()
        if path is not None and not path.exists():
            self._write()  # where it cannot be written, say so before a question is asked

    def learn(self, generation: int) -> None:
        """S2 has signed something of this generation. Raises `BadConfig` when it cannot be kept."""
        if generation > self.generation:
            self.generation = max(generation, self._load())  # another process of this client may know more
            self._write()

    def _load(self) -> int:
        if self.path is None:
            return 0
        try:
            body = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise BadConfig(f"{self.path} cannot be read", detail=str(error)) from error
        except ValueError:
            body = None
        generation = body.get("generation") if isinstance(body, dict) else None
        if not isinstance(generation, int) or not 0 <= generation < _MOST or body.get("version") != _VERSION:
            raise BadConfig(f"{self.path} is damaged; remove it, and this client begins anew")
        return generation if all(body.get(name) == value for name, value in self._keys.items()) else 0

    def _write(self) -> None:
        if self.path is None:
            return
        text = json.dumps({"version": _VERSION, **self._keys, "generation": self.generation}) + "\n"
        made = None
        try:
            fd, made = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)  # mode 0600
            with os.fdopen(fd, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, self.path)
        except OSError as error:
            if made is not None:
                with contextlib.suppress(OSError):
                    os.unlink(made)
            message = f"{self.path} cannot be written; give this client room there, or name another file by `state`"
            raise BadConfig(message, detail=str(error)) from error
