"""A model that says actions as tokens behind the interface that every policy has."""

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.acting import checked_positions
from dexvla_model.baselines.action_decoding import ActionDecoder
from dexvla_model.baselines.action_tokens import ActionTokens
from dexvla_model.baselines.planned_chunk import PlannedRows
from dexvla_model.camera_images import image_batches
from dexvla_model.normalization import Statistics
from dexvla_model.observation import Observation, RobotState
from dexvla_model.policy import ActionChunk, InvalidOutput, SubStep
from dexvla_model.robot.description import RobotDescription


class ActionTokensPolicy:
    """A trained `ActionTokens` on one robot. See `dexvla_model.policy.Policy`.

    The language model says the actions, so all of it happens where other policies reason: the condition of a
    sub-step holds the knots of its chunk, in rad, and acting cuts out what is left of it. Its sub-step is the
    instruction, and it never says that it is done; a time limit or the task's own success ends its tasks.

    Args:
        model: on the device and in the type in which it shall compute.
        statistics: of the robot's embodiment.
        compile_network: not used, there is no expert to compile.
        pack_weights: for inference alone and faster on a CPU.
    """

    def __init__(
        self,
        model: ActionTokens,
        tokenizer: PreTrainedTokenizerFast,
        statistics: Statistics,
        robot: RobotDescription,
        name: str = "action_tokens",
        compile_network: bool = False,
        pack_weights: bool = False,
    ) -> None:
        self.name = name
        self.robot = robot
        self.model = model.eval()
        self.statistics = statistics
        self._embodiment = model.embodiment(robot.embodiment)
        self._decoder = ActionDecoder(model, model.prompt(tokenizer, robot.embodiment), robot.embodiment)
        self._device = next(model.parameters()).device
        self._must_pack = pack_weights
        head = self._embodiment.head
        self._planned = PlannedRows(robot, model.config.knots(robot.embodiment), head.horizon)

    def get_ready(self, method: str) -> None:
        """Pack the weights, if that is wanted and it reasons."""
        if method == "reason" and self._must_pack:
            self._decoder.pack()

    def reset(self, seed: int) -> None:
        """Nothing is remembered, and nothing drawn."""

    @torch.no_grad()
    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """The instruction, with the chunk that the model says as condition.

        Raises:
            InvalidObservation: an image is missing or not of the model's size, or the state is not finite.
            InvalidOutput: the chunk is not finite.
            UserError: the instruction is too long for the model's context or holds a special token.
        """
        self.get_ready("reason")
        images = image_batches(observation, self._embodiment.cameras, self._device)
        position = torch.from_numpy(checked_positions(observation.state, self.robot)).unsqueeze(0)
        knots = self._decoder.decode(images, instruction, self.statistics.normalise_state(position))
        plan = self.statistics.denormalise_actions(knots.double().unsqueeze(0), position)[0].numpy()
        if not np.isfinite(plan).all():
            raise InvalidOutput(
                f"the chunk of policy {self.name} is not finite: the statistics of the actions are not"
            )
        return SubStep(instruction, plan.reshape(-1).astype(np.float32), observation.stamp_s)

    def act(
        self,
        substep: SubStep,
        state: RobotState,
        prefix: np.ndarray | None = None,
        scheduled: np.ndarray | None = None,
    ) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`; see `PlannedRows.chunk`."""
        return self._planned.chunk(substep, state, prefix)
