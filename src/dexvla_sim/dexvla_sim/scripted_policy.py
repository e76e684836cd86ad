"""The demonstrators behind the interface of a policy: they stand in the place of a learned one."""

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.observation import InvalidObservation, Observation, RobotState
from dexvla_model.policy import DONE_TEXT, ActionChunk, SubStep
from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators import DEMONSTRATORS, HORIZON, Demonstrator
from dexvla_sim.tasks import default_task

# A condition begins with its task's place in this list: whoever acts knows the sub-step alone.
_TASKS = list(DEMONSTRATORS)


class ScriptedPolicy:
    """Reasons from the simulator's ground truth; the condition carries task and scene for acting.

    Attributes:
        horizon: rows of a chunk.
    """

    name = "scripted"
    horizon = HORIZON

    def __init__(self, robot: RobotDescription) -> None:
        self.robot = robot
        self._demonstrators: dict[int, Demonstrator] = {}
        self.prepare(default_task(robot))

    def prepare(self, task: str) -> None:
        """Make the demonstrator of a task ready; otherwise the first question about it takes a moment longer.

        Raises:
            UserError: there is none, or the robot lacks what it needs.
        """
        if task not in _TASKS:
            raise UserError(
                f"The scripted policy cannot do the task {task!r} (allowed: {', '.join(_TASKS)}); name one of "
                "these or a checkpoint."
            )
        self._demonstrator(_TASKS.index(task))

    def get_ready(self, method: str) -> None:
        """Nothing takes long."""

    def reset(self, seed: int) -> None:
        """Nothing to forget: it keeps no memory and draws nothing."""

    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """The sub-step that is due.

        Raises:
            InvalidObservation: the observation carries no ground truth, or that of a task without a
                demonstrator.
            UserError: the robot is not one that the task's demonstrator can use.
        """
        truth = observation.ground_truth
        if truth is None:
            raise InvalidObservation("the scripted policy needs the simulator's ground truth, and none came")
        if truth["task"] not in _TASKS:
            raise InvalidObservation(f"the scripted policy has no demonstrator of the task {truth['task']!r}")
        index = _TASKS.index(truth["task"])
        demonstrator = self._demonstrator(index)
        scene = demonstrator.scene(truth)
        phase = demonstrator.phase(scene, observation.state)
        text = demonstrator.text(phase, scene, truth["target"])
        condition = np.concatenate([[index], scene.to_vector()]).astype(np.float32)
        return SubStep(text, condition, observation.stamp_s, finished=phase.value == DONE_TEXT)

    def act(
        self,
        substep: SubStep,
        state: RobotState,
        prefix: np.ndarray | None = None,
        scheduled: np.ndarray | None = None,
    ) -> ActionChunk:
        """The chunk from `state` for the scene in the sub-step's condition; it needs no `scheduled`."""
        demonstrator = self._demonstrator(int(substep.condition[0]))
        return demonstrator.chunk(demonstrator.scene_of(substep.condition[1:]), state, prefix)

    def _demonstrator(self, index: int) -> Demonstrator:
        """Made when its task first comes: not every robot can do every task."""
        if index not in self._demonstrators:
            self._demonstrators[index] = DEMONSTRATORS[_TASKS[index]](self.robot)
        return self._demonstrators[index]
