"""What the policy wants at which time: the rows of its action chunks, merged."""

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from dexvla_model.streaming.plan import KNOT_S, KNOTS_PER_S


class ActionTimeline:
    """Scheduled positions of A joints at the knots of the motion plan, merged from chunks by their absolute
    times.

    A chunk's rows are joined by a cubic through them (Catmull-Rom). Where rows of an older chunk are
    scheduled, weights ramp from the old to the new ones. After the last row it stays at that row: there is no
    padding.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything that is scheduled."""
        self._first = 0
        self._rows: np.ndarray | None = None
        self._end_s = -np.inf

    @property
    def end_s(self) -> float:
        """Time of the last scheduled row, in s; minus infinity where there is none."""
        return self._end_s

    def at(self, knot: int) -> np.ndarray | None:
        """(A,) rad scheduled at a knot, or None where nothing is scheduled or the rows are over."""
        if self._rows is None or not self._first <= knot < self._first + len(self._rows):
            return None
        return self._rows[knot - self._first]

    def positions(self, times_s: np.ndarray) -> np.ndarray | None:
        """(M, A) rad at (M,) times that are not after the last row; None where nothing is scheduled."""
        if self._rows is None:
            return None
        knots = (self._first + np.arange(len(self._rows))) * KNOT_S
        return interpolate_rows(knots, self._rows, np.asarray(times_s, dtype=np.float64))

    def reference(self, start: int, count: int) -> np.ndarray | None:
        """(count, A) rad at the knots from `start` on; None where nothing is scheduled."""
        if self._rows is None:
            return None
        return self._rows[np.clip(np.arange(start, start + count) - self._first, 0, len(self._rows) - 1)]

    def merge(self, times_s: np.ndarray, rows: np.ndarray, commit: int, blend_s: float) -> int:
        """Schedule a chunk from the knot `commit` on, in place of what was scheduled there.

        Args:
            times_s: (T,) increasing times of the rows; the last one is not before the commit knot.
            rows: (T, A) rad.
            blend_s: time after the commit knot over which the new rows take over from the old ones.

        Returns:
            The number of rows before the commit knot. They are dropped; only the curve to the next row knows
            them.
        """
        times_s = np.asarray(times_s, dtype=np.float64)
        last = max(commit, int(np.floor(times_s[-1] * KNOTS_PER_S)))
        knots = np.arange(commit, last + 1)
        scheduled = interpolate_rows(times_s, rows, knots * KNOT_S)
        if self._rows is not None:
            known = np.clip(knots - self._first, 0, len(self._rows) - 1)
            old_left = (knots >= self._first) & (knots < self._first + len(self._rows))
            weight = (
                np.ones(len(knots))
                if blend_s <= 0.0
                else np.minimum(1.0, (knots - commit) * KNOT_S / blend_s)
            )
            weight = np.where(old_left, weight, 1.0)[:, None]
            scheduled = weight * scheduled + (1.0 - weight) * self._rows[known]
        # What comes after the last knot is held: it has to be the last row itself.
        if last * KNOT_S < times_s[-1]:
            scheduled = np.concatenate([scheduled, rows[-1:]])
        self._first = commit
        self._rows = scheduled
        self._end_s = float(times_s[-1])
        return int(np.count_nonzero(times_s < commit * KNOT_S))


def interpolate_rows(times_s: np.ndarray, rows: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """(M, A) on the Catmull-Rom curve through (T, A) rows at (T,) times; outside of them the nearest row."""
    if len(rows) == 1:
        return np.repeat(rows, len(at_s), axis=0)
    # From the first row's time: a cubic's coefficients lose digits where times are large.
    times, at = times_s - times_s[0], np.clip(at_s, times_s[0], times_s[-1]) - times_s[0]
    return CubicHermiteSpline(times, rows, np.gradient(rows, times, axis=0))(at)
