"""The product's servers, started for one arm after the other under one key."""

from __future__ import annotations

import shutil
from typing import Any

from pura.crypto.rng import SystemRng
from pura.crypto.threshold import KeySet, generate
from pura.ids import Engine
from pura_bench.security.arms import Stage
from pura_bench.security.deployments import deployed


class Lab:
    """Deployments of one stage, all under one key, one after the other, in one folder."""

    def __init__(self, stage: Stage, keys: KeySet | None = None) -> None:
        self.stage = stage
        self._keys = {} if keys is None else {keys.public.engine: keys}

    def keys_for(self, engine: Engine) -> KeySet:
        """Those given, or of a ceremony, made once."""
        if engine not in self._keys:
            self._keys[engine] = generate(self.stage.plan.key_bits, SystemRng(), engine)
        return self._keys[engine]

    @property
    def keys(self) -> KeySet:
        """Those of engine prepared."""
        return self.keys_for(Engine.PREPARED)

    def deploy(self, engine: Engine, **settings: Any) -> Any:
        """A context manager; see `deployed`."""
        folder = self.stage.work / "deployment"
        shutil.rmtree(folder, ignore_errors=True)
        gallery = settings.pop("gallery", self.stage.enrolled)
        settings["dimension"] = gallery.shape[1]
        return deployed(
            folder, gallery, engine=engine, threshold=self.stage.threshold, keys=self.keys_for(engine), **settings
        )
