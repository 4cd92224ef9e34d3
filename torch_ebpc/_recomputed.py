"""Which calls of the forward pass a reentrant checkpoint repeats in the backward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Recomputed:
    """Numbers the calls of layers that are repeated, as they were numbered when they ran first.

    There they had no gradient. Checkpoints are repeated last first, the calls in one in order; and
    how many of a layer are in one is known by the time that a gradient arrives.
    """

    def __init__(self) -> None:
        self._without_gradient: dict[str, list[int]] = {}
        self._thread = _Thread()

    def note(self, layer: str, call: int) -> None:
        """A call in the forward pass had no gradient."""
        calls = self._without_gradient.setdefault(layer, [])
        if calls and call <= calls[-1]:
            calls.clear()  # another pass
        calls.append(call)

    def repeat(self, layer: str) -> Callable[[], int | None]:
        """A call is repeated. What is returned tells its number when its gradient has arrived."""
        group = self._thread.groups.get(layer)
        if group is None or group.numbers is not None:
            group = self._thread.groups[layer] = _Group()
        index = group.size
        group.size += 1

        def number() -> int | None:
            if group.numbers is None:
                calls = self._without_gradient.get(layer, [])
                group.numbers = calls[-group.size :]
                calls[:] = group.numbers + calls[: -group.size]  # once around for every pass
            return group.numbers[index] if index < len(group.numbers) else None

        return number


class _Group:
    """The calls of a layer in one checkpoint."""

    def __init__(self) -> None:
        self.size = 0
        self.numbers: list[int] | None = None


class _Thread(threading.local):
    def __init__(self) -> None:
        self.groups: dict[str, _Group] = {}
