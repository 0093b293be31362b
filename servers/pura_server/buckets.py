"""How often: a bucket of so many, which fills by so many an hour. No clock of its own, and no state."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Bucket:
    """`capacity` at once, `per_hour` on average, and `interval_s` between two of them at least."""

    capacity: int
    per_hour: float
    interval_s: float = 0.0

    def level(self, tokens: float, passed_s: float) -> float:
        """What is in the bucket `passed_s` seconds after `tokens` were in it: min(capacity, tokens + passed rate)."""
        return min(float(self.capacity), tokens + passed_s * self.per_hour / 3600)

    def wait_s(self, tokens: float, passed_s: float) -> float:
        """Seconds until one may be taken: 0 for now, infinity for never."""
        lacks = 1.0 - self.level(tokens, passed_s)
        fills = 0.0 if lacks <= 0 else math.inf if self.per_hour <= 0 else lacks * 3600 / self.per_hour
        return max(fills, self.interval_s - passed_s, 0.0)


def when(seconds: float) -> str:
    """When to ask again, for a person: "ask again in 3 h 5 min"."""
    if math.isinf(seconds):
        return "there are no more until its operator allows them"
    whole = max(1, math.ceil(seconds))
    if whole < 120:
        return f"ask again in {whole} s"
    minutes = math.ceil(whole / 60)
    if minutes < 120:
        return f"ask again in {minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"ask again in {hours} h {minutes} min" if hours < 48 else f"ask again in {math.ceil(whole / 86_400)} days"
