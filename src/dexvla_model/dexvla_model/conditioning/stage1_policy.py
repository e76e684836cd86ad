"""A stage-1 model behind the interface that every policy has."""

from functools import lru_cache

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.acting import ExpertActor
from dexvla_model.camera_images import image_batches
from dexvla_model.conditioning.sentence_encoder import sentence_of
from dexvla_model.conditioning.stage1 import Stage1Model
from dexvla_model.normalization import Statistics
from dexvla_model.observation import Observation, RobotState
from dexvla_model.policy import DONE_TEXT, ActionChunk, InvalidOutput, SubStep
from dexvla_model.robot.description import RobotDescription

# Instructions whose sentence vectors are kept.
_REMEMBERED = 64


class Stage1Policy:
    """A trained stage-1 model on one robot. See `dexvla_model.policy.Policy`.

    It says no sub-steps of its own: the sub-step is the instruction, until the done classifier says that it
    is carried out. A model without one never finishes; a time limit ends its tasks.

    Args:
        model: on the device and in the type in which it shall compute.
        statistics: of the robot's embodiment.
        compile_network, pack_weights: see `dexvla_model.acting.ExpertActor`.
    """

    def __init__(
        self,
        model: Stage1Model,
        tokenizer: PreTrainedTokenizerFast,
        statistics: Statistics,
        robot: RobotDescription,
        name: str = "stage1",
        compile_network: bool = False,
        pack_weights: bool = False,
    ) -> None:
        self.name = name
        self.robot = robot
        self.model = model.eval()
        self.statistics = statistics
        self._tokenizer = tokenizer
        self._embodiment = model.embodiment(robot.embodiment)
        self._actor = ExpertActor(
            model.expert, statistics, robot, model.config.sampling, name, compile_network, pack_weights
        )
        self._device = next(model.parameters()).device
        self._sentence = lru_cache(maxsize=_REMEMBERED)(self._read)
        self.reset(0)

    def get_ready(self, method: str) -> None:
        """Pack the expert's weights, if that is wanted and it acts."""
        if method == "act":
            self._actor.get_ready()

    def reset(self, seed: int) -> None:
        """Forget the episode and what was computed with the weights; later draws depend on `seed` alone."""
        self._actor.reset(seed)
        self._sentence.cache_clear()

    @torch.no_grad()
    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """The condition of what the cameras see; its text is the instruction, or "done".

        Raises:
            InvalidObservation: an image is missing or not of the model's size.
            InvalidOutput: the condition is not finite.
            UserError: the instruction is empty or too long for the sentence encoder.
        """
        images = image_batches(observation, self._embodiment.cameras, self._device)
        condition = self.model.condition(
            self.robot.embodiment, images, self._sentence(sentence_of(instruction))
        )
        values = condition.reshape(-1).float().cpu().numpy()
        if not np.isfinite(values).all():
            raise InvalidOutput(f"the condition of policy {self.name} is not finite")
        finished = self.model.done is not None and self.model.done(condition).item() > 0
        return SubStep(DONE_TEXT if finished else instruction, values, observation.stamp_s, finished)

    def act(
        self,
        substep: SubStep,
        state: RobotState,
        prefix: np.ndarray | None = None,
        scheduled: np.ndarray | None = None,
    ) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`; see `dexvla_model.acting.ExpertActor.act`."""
        return self._actor.act(substep, state, prefix, scheduled)

    def _read(self, text: str) -> torch.Tensor:
        return self.model.sentences([text], self._tokenizer)
