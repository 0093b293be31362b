"""What is never printed, copied or pickled."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """The base of states and material that are used once and stay where they were made."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is used once and stays where it was made")
