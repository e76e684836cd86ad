"""The chat prompt: images, instruction and reasoning as tokens, with the masks that training and fusion need.

    <|im_start|>system ... <|im_end|>                         (only with a system text)
    <|im_start|>user
    <|vision_start|><|image_pad|>...<|vision_end|>            (one for each camera, in the robot file's order)
    INSTRUCTION<|im_end|>
    <|im_start|>assistant
    REASONING<|im_end|>

Everything up to the last image is the same for every prompt of a robot: the *head*. Padding stands on the
right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.errors import UserError
from dexvla_model.vlm.images import ImageSize, PatchGeometry
from dexvla_model.vlm.tokenizer import (
    IMAGE_PAD,
    PAD,
    SPECIAL_TOKENS,
    TURN_END,
    TURN_START,
    VISION_END,
    VISION_START,
)

# What the loss ignores, by convention of torch and transformers.
IGNORED = -100


@dataclass(frozen=True)
class PromptTokens:
    """A batch of right-padded prompts with their reasoning; every tensor is (B, L).

    Attributes:
        input_ids: int64 tokens.
        prompt_mask: bool, tokens of the prompt, images and the assistant's header included.
        reasoning_mask: bool, tokens of the reasoning text, without the `<|im_end|>` behind it.
        labels: int64, the reasoning and its `<|im_end|>`, IGNORED elsewhere; not shifted.
    """

    input_ids: torch.Tensor
    prompt_mask: torch.Tensor
    reasoning_mask: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device | str) -> "PromptTokens":
        return PromptTokens(*(x.to(device) for x in vars(self).values()))

    def __getitem__(self, rows) -> "PromptTokens":
        """The prompts of some rows, without the columns that are padding in all of them."""
        chosen = [x[rows] for x in vars(self).values()]
        used = chosen[1] | (chosen[3] != IGNORED)
        length = int(used.any(dim=0).nonzero().max()) + 1
        return PromptTokens(*(x[:, :length] for x in chosen))


class Prompt:
    """Builds prompts for one list of cameras. Texts are tokenised once and remembered."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        cameras: Mapping[str, ImageSize],
        geometry: PatchGeometry | None = None,
        system: str = "",
    ) -> None:
        """`cameras`: size of the images by role, in the order in which they stand in the prompt."""
        self.tokenizer = tokenizer
        self.cameras = dict(cameras)
        self.geometry = geometry or PatchGeometry()
        self.end_id = tokenizer.convert_tokens_to_ids(TURN_END)
        self.pad_id = tokenizer.convert_tokens_to_ids(PAD)
        self._image_id = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        self._texts: dict[str, list[int]] = {}
        head = f"{TURN_START}system\n{system}{TURN_END}\n" if system else ""
        head += f"{TURN_START}user\n"
        for size in self.cameras.values():
            head += VISION_START + IMAGE_PAD * self.geometry.tokens(size) + VISION_END
        self.head_ids: list[int] = self._encode(head)
        self._tail_ids = self._encode(f"{TURN_END}\n{TURN_START}assistant\n")

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _remembered(self, text: str) -> list[int]:
        if text not in self._texts:
            for token in SPECIAL_TOKENS:
                if token in text:
                    raise UserError(f"the text {text!r} holds the special token {token}: remove it.")
            if len(self._texts) > 100_000:
                self._texts.clear()
            self._texts[text] = self._encode(text)
        return self._texts[text]

    @cached_property
    def image_slots(self) -> torch.Tensor:
        """(N,) int64: positions of the image tokens, the same in every prompt."""
        return torch.tensor([i for i, token in enumerate(self.head_ids) if token == self._image_id])

    def position_ids(self, length: int) -> torch.Tensor:
        """M-RoPE positions (3, 1, length) of every prompt: time, row, column (Wang et al. 2024, Qwen2-VL).

        Text counts on in all three; the tokens of an image have their row and column, and the text after it
        goes on from the largest position used.
        """
        if length > self._positions.shape[2]:
            more = length - self._positions.shape[2] + 256
            after = self._positions[:, :, -1:] + 1 + torch.arange(more)
            self._positions = torch.cat([self._positions, after], dim=2)
        return self._positions[:, :, :length]

    @cached_property
    def _positions(self) -> torch.Tensor:
        """Positions of the head, and of one token more than it."""
        columns, next_position, i = [], 0, 0
        sizes = iter(self.cameras.values())
        while i < len(self.head_ids):
            if self.head_ids[i] != self._image_id:
                columns.append(torch.full((3, 1), next_position))
                next_position += 1
                i += 1
                continue
            rows, width = (n // self.geometry.merge for n in self.geometry.grid(next(sizes)))
            row = torch.arange(rows).repeat_interleave(width)
            column = torch.arange(width).repeat(rows)
            columns.append(next_position + torch.stack([torch.zeros_like(row), row, column]))
            next_position += max(rows, width)
            i += rows * width
        columns.append(torch.full((3, 1), next_position))
        return torch.cat(columns, dim=1).unsqueeze(1)

    def prompt_ids(self, instruction: str) -> list[int]:
        """Tokens up to where the reasoning begins. Raises UserError for a text with a special token in it."""
        return self.head_ids + self._remembered(instruction) + self._tail_ids

    def reasoning_ids(self, reasoning: str) -> list[int]:
        """Tokens of a reasoning text, without the end of the turn."""
        return self._remembered(reasoning)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of reasoning tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def encode(self, instructions: Sequence[str], reasonings: Sequence[str]) -> PromptTokens:
        """Prompts with their reasoning, as one right-padded batch.

        Raises:
            UserError: the numbers of instructions and reasonings differ.
        """
        if len(instructions) != len(reasonings) or not instructions:
            raise UserError(f"{len(instructions)} instructions came with {len(reasonings)} reasoning texts.")
        prompts = [self.prompt_ids(text) for text in instructions]
        answers = [self._remembered(text) for text in reasonings]
        starts = torch.tensor([len(ids) for ids in prompts]).unsqueeze(1)
        ends = starts + torch.tensor([len(ids) for ids in answers]).unsqueeze(1)
        rows = [prompt + answer + [self.end_id] for prompt, answer in zip(prompts, answers, strict=True)]
        length = max(len(row) for row in rows)
        input_ids = torch.tensor([row + [self.pad_id] * (length - len(row)) for row in rows])
        index = torch.arange(length).unsqueeze(0)
        labels = input_ids.masked_fill((index < starts) | (index > ends), IGNORED)
        return PromptTokens(input_ids, index < starts, (index >= starts) & (index < ends), labels)
