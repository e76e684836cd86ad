"""Acting for policies that plan a whole chunk where others reason: what is left of it at a later time."""

from collections.abc import Sequence

import numpy as np

from dexvla_model.acting import checked_positions, known_rows
from dexvla_model.baselines.bins import between_knots
from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk, InvalidOutput, SubStep
from dexvla_model.robot.description import RobotDescription

# Rows over which the step between committed rows and a newer plan is spread.
_FADE_ROWS = 4


class PlannedRows:
    """Cuts chunks out of plans that sub-steps carry as their condition.

    A plan is (M, A) in rad, flattened: positions at given rows, counted in steps of the robot's action rate
    from the sub-step's stamp on.

    Args:
        rows: where the M positions stand.
        horizon: rows of a chunk.
    """

    def __init__(self, robot: RobotDescription, rows: Sequence[int], horizon: int) -> None:
        self.robot = robot
        self._rows, self._horizon = list(rows), horizon
        self._step_s = 1.0 / robot.rates.action_hz

    def chunk(self, substep: SubStep, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`; behind the plan's end it stays there.

        Rows of `prefix` (P, A), in rad, are returned as they are. The plan may not go on exactly where they
        end: that difference fades over the rows behind them.

        Raises:
            InvalidObservation: the state does not fit the robot or is not finite.
            InvalidOutput: the plan does not fit the robot or is not finite.
        """
        checked_positions(state, self.robot)
        size = len(self.robot.action)
        plan = np.asarray(substep.condition, dtype=np.float64)
        if plan.shape != (len(self._rows) * size,):
            raise InvalidOutput(f"the plan has shape {plan.shape}, needed is ({len(self._rows) * size},)")
        if not np.isfinite(plan).all():
            raise InvalidOutput(f"the plan is not finite: its value {int(np.argmin(np.isfinite(plan)))}")
        late = max(0.0, state.stamp_s - substep.stamp_s) / self._step_s
        at = late + np.arange(self._horizon)
        positions = between_knots(plan.reshape(-1, size), self._rows, at)
        committed = known_rows(prefix, self._horizon, size, "prefix")
        count = len(committed)
        if count:
            gap = committed[-1] - positions[count - 1]
            fade = 1.0 - np.arange(1, self._horizon - count + 1) / (_FADE_ROWS + 1)
            positions[count:] += np.clip(fade, 0.0, 1.0)[:, None] * gap
            positions[:count] = committed
        return ActionChunk(state.stamp_s, self._step_s, self.robot.action_joints, positions)
