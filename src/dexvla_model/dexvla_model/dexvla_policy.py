"""DexVLA behind the interface that every policy has."""

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.acting import ExpertActor
from dexvla_model.camera_images import image_batches
from dexvla_model.dexvla import DexVLA
from dexvla_model.normalization import Statistics
from dexvla_model.observation import Observation, RobotState
from dexvla_model.policy import DONE_TEXT, ActionChunk, InvalidOutput, SubStep
from dexvla_model.reasoner import Reasoner
from dexvla_model.reasoning import Reasoning
from dexvla_model.robot.description import RobotDescription


class DexVLAPolicy:
    """A trained DexVLA on one robot. See `dexvla_model.policy.Policy`.

    Reasoning uses the backbone and the fusion, acting the expert only: a process that does one of the two
    runs nothing of the other. Not thread-safe.

    Args:
        model: on the device and in the type in which it shall compute.
        statistics: of the robot's embodiment.
        compile_network: see `dexvla_model.acting.ExpertActor`.
        pack_weights: for inference alone and faster on a CPU; see there and `dexvla_model.reasoner.Reasoner`.
    """

    def __init__(
        self,
        model: DexVLA,
        tokenizer: PreTrainedTokenizerFast,
        statistics: Statistics,
        robot: RobotDescription,
        name: str = "dexvla",
        compile_network: bool = False,
        pack_weights: bool = False,
    ) -> None:
        self.name = name
        self.robot = robot
        self.model = model.eval()
        self.statistics = statistics
        self._embodiment = model.embodiment(robot.embodiment)
        self._prompt = model.prompt(tokenizer, robot.embodiment)
        self._actor = ExpertActor(
            model.expert, statistics, robot, model.config.sampling, name, compile_network, pack_weights
        )
        self._reasoner = Reasoner(model, self._prompt, pack_weights)
        self.reset(0)

    def get_ready(self, method: str) -> None:
        """Pack the weights of that half, if that is wanted."""
        {"reason": self._reasoner, "act": self._actor}[method].get_ready()

    def reset(self, seed: int) -> None:
        """Forget the episode and what was computed with the weights; later draws depend on `seed` alone."""
        self._actor.reset(seed)
        self._reasoner.forget()
        self._last_text: str = ""
        self._last_ids: list[int] = []

    @torch.no_grad()
    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """Say the current sub-step, with `previous` as the draft.

        Raises:
            InvalidObservation: an image is missing or not of the model's size.
            InvalidOutput: the condition is not finite; says what was the first not to be.
            UserError: the instruction is too long for the model's context or holds a special token.
        """
        reasoning = self.decode(observation, instruction, "" if previous is None else previous.text)
        hidden = reasoning.hidden_states
        is_prompt = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0) < reasoning.prompt_length
        condition = self.model.fusion(hidden, is_prompt, ~is_prompt)
        values = condition.reshape(-1).float().cpu().numpy()
        if not np.isfinite(values).all():
            raise InvalidOutput(
                f"the condition of policy {self.name} is not finite; the first that is not: "
                f"{self._first_not_finite(observation, reasoning)}"
            )
        text = self._prompt.decode(reasoning.ids)
        self._last_text, self._last_ids = text, reasoning.ids
        return SubStep(text, values, observation.stamp_s, finished=text.strip() == DONE_TEXT)

    @torch.no_grad()
    def decode(self, observation: Observation, instruction: str, draft: str = "") -> Reasoning:
        """Tokens and hidden states of the sub-step; `draft` is a text that is likely to come out."""
        images = image_batches(observation, self._embodiment.cameras, "cpu")
        # The last answer's own tokens, because a text may have more than one way to be tokenised.
        ids = self._last_ids if draft == self._last_text else self._prompt.draft_ids(draft)
        return self._reasoner.decode(images, instruction, ids)

    def _first_not_finite(self, observation: Observation, reasoning: Reasoning) -> str:
        """Where numbers went wrong, for people."""
        for name, weight in self.model.named_parameters():
            if not torch.isfinite(weight).all():
                return f"the weight {name}"
        device = reasoning.hidden_states.device
        images = image_batches(observation, self._embodiment.cameras, device)
        for camera, (role, image) in enumerate(images.items()):
            if not torch.isfinite(self.model.vlm.encode_images({role: image}, camera).tokens).all():
                return f"the tokens of the image of {role}"
        wrong = (~torch.isfinite(reasoning.hidden_states[0]).all(dim=1)).nonzero()
        if len(wrong):
            place = int(wrong[0])
            part = "prompt" if place < reasoning.prompt_length else "reasoning"
            return f"the hidden state of token {place}, of the {part}"
        return "the output of the fusion"

    def act(
        self,
        substep: SubStep,
        state: RobotState,
        prefix: np.ndarray | None = None,
        scheduled: np.ndarray | None = None,
    ) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`; see `dexvla_model.acting.ExpertActor.act`."""
        return self._actor.act(substep, state, prefix, scheduled)
