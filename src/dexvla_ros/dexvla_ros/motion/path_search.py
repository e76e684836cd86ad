"""A free path between two postures: straight, or found by OMPL's RRT-Connect and shortened."""

import time
from collections.abc import Callable
from types import ModuleType

import numpy as np

_TRIES = 3
# Joints that turn further than a full circle are searched this far around start and goal.
_REACH_RAD = np.pi
# Share of the search space between two postures that are checked on an edge, for each try.
_RESOLUTIONS = (0.01, 0.004, 0.002)
_seeded = False


class PathSearch:
    """Searches in J joints within limits.

    Args:
        lower, upper: (J,) rad.
        is_free: whether the robot may stand at (J,) rad.
        is_way_free: whether it may move on the straight lines through (N, J) rad.
        time_s: after which a search gives up, real time.
        seed: of the draws; of OMPL's only in the first search of a process.
    """

    def __init__(
        self,
        lower: np.ndarray,
        upper: np.ndarray,
        is_free: Callable[[np.ndarray], bool],
        is_way_free: Callable[[np.ndarray], bool],
        time_s: float,
        seed: int = 1,
    ) -> None:
        self._lower, self._upper = lower, upper
        self._is_free, self._is_way_free = is_free, is_way_free
        self._time_s = time_s
        self._seed = seed

    def path(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray | None:
        """(N, J) rad from start to goal, both (J,), by free straight lines; None = not found in time."""
        direct = np.stack([start, goal])
        if self._is_way_free(direct):
            return direct
        deadline_s = time.monotonic() + self._time_s
        for attempt in range(_TRIES):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0.0:
                return None
            found = self._search(start, goal, left_s, _RESOLUTIONS[attempt])
            if found is not None and self._is_way_free(found):
                return self._shortened(found, deadline_s)
        return None

    def _search(
        self, start: np.ndarray, goal: np.ndarray, time_s: float, resolution: float
    ) -> np.ndarray | None:
        # Imported where it is needed: most motions are straight.
        from ompl import base, geometric, util

        _quieten(util, self._seed)
        size = len(start)
        lower = np.maximum(self._lower, np.minimum(start, goal) - _REACH_RAD)
        upper = np.minimum(self._upper, np.maximum(start, goal) + _REACH_RAD)
        bounds = base.RealVectorBounds(size)
        for index in range(size):
            # Start and goal may stand on a limit, and rounding beyond it.
            bounds.setLow(index, float(min(lower[index], start[index], goal[index])) - 1e-9)
            bounds.setHigh(index, float(max(upper[index], start[index], goal[index])) + 1e-9)
        space = base.RealVectorStateSpace(size)
        space.setBounds(bounds)
        setup = geometric.SimpleSetup(space)
        setup.setStateValidityChecker(lambda state: self._is_free(_array(state, size)))
        information = setup.getSpaceInformation()
        information.setStateValidityCheckingResolution(resolution)
        ends = []
        for positions in (start, goal):
            state = space.allocState()
            for index in range(size):
                state[index] = float(positions[index])
            ends.append(state)
        setup.setStartAndGoalStates(*ends)
        setup.setPlanner(geometric.RRTConnect(information))
        setup.solve(time_s)
        if not setup.haveExactSolutionPath():
            return None
        states = setup.getSolutionPath().getStates()
        path = np.stack([_array(state, size) for state in states])
        path[0], path[-1] = start, goal
        return path

    def _shortened(self, path: np.ndarray, deadline_s: float) -> np.ndarray:
        """The path without detours: between random points of it straight lines are tried."""
        random = np.random.default_rng(self._seed)
        path = self._pruned(path)
        for _ in range(60):
            if len(path) < 3 or time.monotonic() > deadline_s:
                break
            lengths = np.abs(np.diff(path, axis=0)).sum(axis=1)
            ends = np.concatenate([[0.0], np.cumsum(lengths)])
            first, last = np.sort(random.uniform(0.0, ends[-1], 2))
            inner = [np.array([np.interp(at, ends, column) for column in path.T]) for at in (first, last)]
            before = path[: np.searchsorted(ends, first, side="right")]
            after = path[np.searchsorted(ends, last, side="left") :]
            if len(before) + len(after) < len(path) and self._is_way_free(np.stack(inner)):
                path = np.concatenate([before, inner, after])
                path = self._pruned(path)
        return path

    def _pruned(self, path: np.ndarray) -> np.ndarray:
        """Without the points that a free straight line leads past."""
        kept = [path[0]]
        index = 0
        while index < len(path) - 1:
            ahead = len(path) - 1
            while ahead > index + 1 and not self._is_way_free(np.stack([path[index], path[ahead]])):
                ahead -= 1
            kept.append(path[ahead])
            index = ahead
        return np.stack(kept)


def _quieten(util: ModuleType, seed: int) -> None:
    """Warnings only; the seed can be set once in a process, before the first search."""
    global _seeded
    if not _seeded:
        util.setLogLevel(util.LOG_ERROR)
        util.RNG.setSeed(seed)
        _seeded = True


def _array(state: object, size: int) -> np.ndarray:
    return np.array([state[index] for index in range(size)])
