"""Settings of all tests."""

import os

from hypothesis import settings

# a busy machine is no failure; in CI the same examples every time, elsewhere new ones
settings.register_profile("pura", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("pura")
