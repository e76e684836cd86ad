"""How often something comes, from counters that only grow. No ROS."""

from collections import deque
from collections.abc import Mapping

_WINDOW_S = 2.0


class Rates:
    """Rates over the last two seconds, by name."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, dict[str, int]]] = deque()

    def update(self, time_s: float, counts: Mapping[str, int]) -> dict[str, float]:
        """Take the counters at a time; rates in Hz, 0 for what was not known at the window's start."""
        history = self._history
        if history and time_s < history[-1][0]:
            history.clear()  # the clock was set back
        history.append((time_s, dict(counts)))
        while len(history) > 2 and time_s - history[1][0] >= _WINDOW_S:
            history.popleft()
        first_s, first = history[0]
        span_s = time_s - first_s
        if span_s <= 0.0:
            return dict.fromkeys(counts, 0.0)
        return {name: (count - first.get(name, count)) / span_s for name, count in counts.items()}
