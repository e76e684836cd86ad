"""The demonstrator behind the interface of a policy: it stands in the place of a learned one."""

import numpy as np

from dexvla_model.observation import InvalidObservation, Observation, RobotState
from dexvla_model.policy import ActionChunk, SubStep
from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrator import HORIZON, Demonstrator, Phase, Scene


class ScriptedPolicy:
    """Reasons from the simulator's ground truth; the condition carries the scene for acting.

    Attributes:
        horizon: rows of a chunk.
    """

    name = "scripted"
    horizon = HORIZON

    def __init__(self, robot: RobotDescription) -> None:
        self.robot = robot
        self._demonstrator = Demonstrator(robot)

    def reset(self, seed: int) -> None:
        """Nothing to forget: it keeps no memory and draws nothing."""

    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """The sub-step that is due.

        Raises:
            InvalidObservation: the observation carries no ground truth.
        """
        if observation.ground_truth is None:
            raise InvalidObservation("the scripted policy needs the simulator's ground truth, and none came")
        scene = Scene.from_ground_truth(observation.ground_truth)
        phase = self._demonstrator.phase(scene, observation.state)
        text = self._demonstrator.text(phase, scene, observation.ground_truth["target"])
        return SubStep(text, scene.to_vector(), observation.stamp_s, finished=phase is Phase.DONE)

    def act(self, substep: SubStep, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """The demonstrator's chunk from `state` for the scene in the sub-step's condition."""
        return self._demonstrator.chunk(Scene.from_vector(substep.condition), state, prefix)
