"""A policy of LeRobot behind the interface that every policy has."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from dexvla_model.acting import checked_positions
from dexvla_model.baselines.lerobot.policy_features import PolicyFeatures
from dexvla_model.baselines.planned_chunk import PlannedRows
from dexvla_model.data.lerobot.layout import ACTION, STATE
from dexvla_model.observation import InvalidObservation, Observation, RobotState, resize_image
from dexvla_model.policy import ActionChunk, InvalidOutput, SubStep
from dexvla_model.robot.description import RobotDescription

Processor = Callable[[Any], Any]


class TrainedPolicy(Protocol):
    """What is used of `lerobot.policies.pretrained.PreTrainedPolicy`."""

    config: Any

    def reset(self) -> None: ...

    def predict_action_chunk(self, batch: dict[str, torch.Tensor]) -> torch.Tensor: ...

    def select_action(self, batch: dict[str, torch.Tensor]) -> torch.Tensor: ...


class LeRobotPolicy:
    """A trained policy of LeRobot on one robot. See `dexvla_model.policy.Policy`.

    It looks and plans in one, so all of it happens where other policies reason: the condition of a sub-step
    holds the planned rows, in rad, and acting cuts out what is left of them. Its sub-step is the instruction,
    and it never says that it is done. A policy that was trained with a history of observations gets those of
    its last calls, as far apart as these are.

    Args:
        policy: on its device, in evaluation mode.
        preprocess: an observation as LeRobot has it -> the policy's batch.
        postprocess: an action (1, A) of the policy -> the same in the dataset's units.
    """

    def __init__(
        self,
        policy: TrainedPolicy,
        preprocess: Processor,
        postprocess: Processor,
        features: PolicyFeatures,
        robot: RobotDescription,
        name: str = "lerobot",
    ) -> None:
        self.name = name
        self.robot = robot
        self.features = features
        self._policy, self._preprocess, self._postprocess = policy, preprocess, postprocess
        self._cameras = {camera.role: camera for camera in robot.cameras}
        # Rows are told by the plan, whose length is known only then.
        self._planned: dict[int, PlannedRows] = {}
        self.reset(0)

    def get_ready(self, method: str) -> None:
        """Nothing to do."""

    def reset(self, seed: int) -> None:
        """Forget the episode; later draws depend on `seed` alone."""
        self._policy.reset()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._random = torch.get_rng_state()

    @torch.no_grad()
    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """The instruction, with the rows that the policy plans as condition.

        Raises:
            InvalidObservation: an image is missing, or the state does not fit the robot or is not finite.
            InvalidOutput: the plan is not finite, or not of the robot's actions.
        """
        batch = self._preprocess(self.observation(observation, instruction))
        # LeRobot draws from torch's own generator, which others use too.
        with torch.random.fork_rng():
            torch.set_rng_state(self._random)
            chunk = self._chunk(batch)
            self._random = torch.get_rng_state()
        rows = torch.cat([self._postprocess(chunk[:, row]) for row in range(chunk.shape[1])])
        plan = rows.double().cpu().numpy()
        size = len(self.features.action)
        if plan.ndim != 2 or plan.shape[1] != size:
            raise InvalidOutput(
                f"the plan of policy {self.name} has shape {plan.shape}, needed is (T, {size})"
            )
        if not np.isfinite(plan).all():
            raise InvalidOutput(f"the plan of policy {self.name} is not finite")
        plan = plan[:, list(self.features.action)]
        return SubStep(instruction, plan.reshape(-1).astype(np.float32), observation.stamp_s)

    def act(
        self,
        substep: SubStep,
        state: RobotState,
        prefix: np.ndarray | None = None,
        scheduled: np.ndarray | None = None,
    ) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`; see `PlannedRows.chunk`."""
        count = max(1, len(substep.condition) // len(self.robot.action))
        if count not in self._planned:
            rows = np.arange(count) * self.features.row_s * self.robot.rates.action_hz
            self._planned[count] = PlannedRows(self.robot, rows, int(rows[-1]) + 1)
        return self._planned[count].chunk(substep, state, prefix)

    def observation(self, observation: Observation, instruction: str) -> dict[str, Any]:
        """An observation as LeRobot has it: images (3, H, W) float32 in [0, 1], state (S,) float32, task.

        Raises:
            InvalidObservation: an image is missing, or the state does not fit the robot or is not finite.
        """
        content: dict[str, Any] = {"task": instruction}
        for role, feature in self.features.cameras.items():
            if role not in observation.images:
                raise InvalidObservation(f"there is no image of the camera {role}")
            size = self.features.sizes[role]
            seen = replace(self._cameras[role], model_width=size.width, model_height=size.height)
            image = np.array(resize_image(observation.images[role], seen))
            content[feature] = torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 255
        if self.features.state is not None:
            positions = checked_positions(observation.state, self.robot)[list(self.features.state)]
            content[STATE] = torch.from_numpy(positions).float()
        return content

    def _chunk(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """The policy's own actions (1, T, A)."""
        queues = getattr(self._policy, "_queues", None)
        if not queues or STATE not in queues:
            chunk = self._policy.predict_action_chunk(dict(batch))
            return chunk if chunk.dim() == 3 else chunk.unsqueeze(1)
        # A policy with a history takes an observation into it nowhere but here, where it says the first of
        # the actions that it planned, and keeps the others for the next calls.
        queues[ACTION].clear()
        first = self._policy.select_action({name: x for name, x in batch.items() if name != ACTION})
        return torch.stack([first, *queues[ACTION]], dim=1)
