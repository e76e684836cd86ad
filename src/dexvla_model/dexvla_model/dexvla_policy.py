"""DexVLA behind the interface that every policy has."""

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.dexvla import DexVLA
from dexvla_model.errors import UserError
from dexvla_model.expert import ddim_sample
from dexvla_model.normalization import Statistics
from dexvla_model.observation import InvalidObservation, Observation, RobotState
from dexvla_model.policy import DONE_TEXT, ActionChunk, InvalidOutput, SubStep
from dexvla_model.reasoning import Reasoning, decode_with_draft
from dexvla_model.robot.description import RobotDescription


class DexVLAPolicy:
    """A trained DexVLA on one robot. See `dexvla_model.policy.Policy`.

    Reasoning uses the backbone and the fusion, acting the expert only: a process that does one of the two
    runs nothing of the other. Not thread-safe.

    Args:
        model: on the device and in the type in which it shall compute.
        statistics: of the robot's embodiment.
    """

    def __init__(
        self,
        model: DexVLA,
        tokenizer: PreTrainedTokenizerFast,
        statistics: Statistics,
        robot: RobotDescription,
        name: str = "dexvla",
    ) -> None:
        self.name = name
        self.robot = robot
        self.model = model.eval()
        self.statistics = statistics
        self._embodiment = model.embodiment(robot.embodiment)
        self._prompt = model.prompt(tokenizer, robot.embodiment)
        weight = model.expert.cond_obs_emb.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._image_slots = self._prompt.image_slots.to(self._device)
        self._generator = torch.Generator(self._device)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the episode; later draws depend on `seed` alone."""
        self._generator.manual_seed(seed)
        self._last_text: str = ""
        self._last_ids: list[int] = []

    @torch.no_grad()
    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """Say the current sub-step, with `previous` as the draft.

        Raises:
            InvalidObservation: an image is missing or not of the model's size.
            InvalidOutput: the condition is not finite.
            UserError: the instruction is too long for the model's context or holds a special token.
        """
        reasoning = self.decode(observation, instruction, "" if previous is None else previous.text)
        length = reasoning.hidden_states.shape[1]
        is_prompt = (torch.arange(length, device=self._device) < reasoning.prompt_length).unsqueeze(0)
        condition = self.model.fusion(reasoning.hidden_states, is_prompt, ~is_prompt)
        values = condition.reshape(-1).float().cpu().numpy()
        if not np.isfinite(values).all():
            raise InvalidOutput(f"the condition of policy {self.name} is not finite")
        text = self._prompt.decode(reasoning.ids)
        self._last_text, self._last_ids = text, reasoning.ids
        return SubStep(text, values, observation.stamp_s, finished=text.strip() == DONE_TEXT)

    @torch.no_grad()
    def decode(self, observation: Observation, instruction: str, draft: str = "") -> Reasoning:
        """Tokens and hidden states of the sub-step; `draft` is a text that is likely to come out."""
        images = {role: self._image(observation, role) for role in self._embodiment.cameras}
        prompt_ids = self._prompt.prompt_ids(instruction)
        longest = self.model.config.max_reasoning_tokens
        context = self.model.config.vlm.context_length
        if len(prompt_ids) + longest > context:
            raise UserError(
                f"the instruction makes a prompt of {len(prompt_ids)} tokens, the model's context of "
                f"{context} leaves room for {context - longest}: shorten it."
            )
        # The last answer's own tokens, because a text may have more than one way to be tokenised.
        draft_ids = self._last_ids if draft == self._last_text else self._prompt.reasoning_ids(draft)
        vlm = self.model.vlm
        embedded = vlm.embed(
            torch.tensor([prompt_ids], device=self._device), vlm.encode_images(images), self._image_slots
        )
        positions = self._prompt.position_ids(len(prompt_ids) + longest).to(self._device)
        return decode_with_draft(
            vlm, embedded, positions, draft_ids, end_id=self._prompt.end_id, max_tokens=longest
        )

    @torch.no_grad()
    def act(self, substep: SubStep, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`; rows of `prefix` (P, A), in rad, are returned as they
        are.

        Raises:
            InvalidOutput: the condition does not fit the model, or the chunk is not finite.
        """
        width = self.model.config.expert.condition_width
        if substep.condition.shape != (width,):
            raise InvalidOutput(
                f"the condition has shape {substep.condition.shape}, the expert needs ({width},)"
            )
        position = torch.as_tensor(np.array(state.positions, dtype=np.float64)).unsqueeze(0)
        if position.shape[1] != len(self.robot.state):
            raise InvalidObservation(
                f"the state has {position.shape[1]} values, needed are {len(self.robot.state)}"
            )
        known = None
        if prefix is not None and len(prefix):
            prefix = np.asarray(prefix, dtype=np.float64)[: self._embodiment.head.horizon]
            rows = self.statistics.normalise_actions(torch.as_tensor(prefix).unsqueeze(0), position)
            known = rows.to(self._device, torch.float32)
        condition = torch.tensor(substep.condition, device=self._device, dtype=self._dtype).unsqueeze(0)
        normalised_state = self.statistics.normalise_state(position).to(self._device, self._dtype)
        head = self._embodiment.head
        noise = torch.randn(
            (1, head.horizon, head.action_size),
            generator=self._generator,
            device=self._device,
            dtype=torch.float32,
        )
        chunk = ddim_sample(
            self.model.expert,
            condition,
            normalised_state,
            self.robot.embodiment,
            noise=self.model.config.sampling_noise * noise,
            prefix=known,
        )
        positions = self.statistics.denormalise_actions(chunk.double().cpu(), position)[0].numpy()
        if known is not None:
            positions[: len(prefix)] = prefix
        if not np.isfinite(positions).all():
            raise InvalidOutput(f"the action chunk of policy {self.name} is not finite")
        return ActionChunk(
            state.stamp_s, 1.0 / self.robot.rates.action_hz, self.robot.action_joints, positions
        )

    def _image(self, observation: Observation, role: str) -> torch.Tensor:
        """One camera's image as a batch (1, H, W, 3) uint8."""
        size = self._embodiment.cameras[role]
        expected = (size.height, size.width, 3)
        image = observation.images.get(role)
        if image is None:
            raise InvalidObservation(f"there is no image of the camera {role}")
        if image.shape != expected or image.dtype != np.uint8:
            raise InvalidObservation(
                f"the image of the camera {role} has shape {image.shape} and type {image.dtype}, "
                f"needed is {expected} uint8"
            )
        # A copy: an image out of a message is read-only memory, which torch does not take.
        return torch.from_numpy(np.array(image)).unsqueeze(0).to(self._device)
