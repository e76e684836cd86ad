"""The chat prompt: images, instruction and reasoning as tokens, with the masks that training and fusion need.

    <|im_start|>system ... <|im_end|>                         (only with a system text)
    <|im_start|>user
    <|vision_start|><|image_pad|>...<|vision_end|>            (one for each camera, in the robot file's order)
    INSTRUCTION<|im_end|>
    <|im_start|>assistant
    REASONING<|im_end|>

Everything up to the last image is the same for every prompt of a robot: the *head*. Padding may stand on
either side.

Which tokens count as reasoning for the fusion: the published training code takes all whose label is not -100,
the closing `<|im_end|>` included, and so does `reasoning_includes_end`, in training and in inference alike.
(The published *inference* code has no labels and parts the sequence behind its first token instead, so that
what it pools is not what was trained; that is not reproduced.)
"""

from collections.abc import Callable, Mapping, Sequence
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
    """A batch of padded prompts with their reasoning; every tensor is (B, L).

    Attributes:
        input_ids: int64 tokens.
        prompt_mask: bool, tokens of the prompt, images and the assistant's header included.
        reasoning_mask: bool, tokens of the reasoning text; with the `<|im_end|>` behind it if the prompt's
            `reasoning_includes_end` says so.
        labels: int64, the reasoning and its `<|im_end|>`, IGNORED elsewhere; not shifted.
        left: padding stands on the left; otherwise on the right.
    """

    input_ids: torch.Tensor
    prompt_mask: torch.Tensor
    reasoning_mask: torch.Tensor
    labels: torch.Tensor
    left: bool = False

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "PromptTokens":
        tensors = (self.input_ids, self.prompt_mask, self.reasoning_mask, self.labels)
        return PromptTokens(*(function(x) for x in tensors), left=self.left)

    @property
    def attended(self) -> torch.Tensor:
        """(B, L) bool, tokens that are not padding."""
        return self.prompt_mask | (self.labels != IGNORED)

    def to(self, device: torch.device | str) -> "PromptTokens":
        return self._map(lambda x: x.to(device))

    def __getitem__(self, rows) -> "PromptTokens":
        """The prompts of some rows, without the columns that are padding in all of them."""
        chosen = self._map(lambda x: x[rows])
        used = chosen.attended.any(dim=0).nonzero()
        first, last = int(used.min()), int(used.max())
        return chosen._map(lambda x: x[:, first : last + 1])


@dataclass(frozen=True)
class Placement:
    """Where the tokens of a batch stand.

    Attributes:
        image_slots: (N,) or, for left padding, (B, N) int64, columns of the image tokens.
        position_ids: (3, 1 or B, L) M-RoPE positions.
        mask: (B, 1, L, L) bool, what each token attends to; None for right padding, where causality alone
            hides what comes behind.
    """

    image_slots: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor | None


class Prompt:
    """Builds prompts for one list of cameras. Texts are tokenised once and remembered."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        cameras: Mapping[str, ImageSize],
        geometry: PatchGeometry | None = None,
        system: str = "",
        reasoning_includes_end: bool = True,
    ) -> None:
        """
        Args:
            cameras: size of the images by role, in the order in which they stand in the prompt.
            reasoning_includes_end: the `<|im_end|>` behind the reasoning counts as reasoning for the fusion.
        """
        self.tokenizer = tokenizer
        self.reasoning_includes_end = reasoning_includes_end
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
        self._on_device: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

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

    def draft_ids(self, text: str) -> list[int]:
        """Tokens of a text that is only a guess; none for one that no reasoning can be."""
        return [] if any(token in text for token in SPECIAL_TOKENS) else self._encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of reasoning tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def place(self, tokens: PromptTokens) -> Placement:
        """Positions, image slots and mask of a batch that this prompt encoded, on its device."""
        device, length = tokens.input_ids.device, tokens.input_ids.shape[1]
        if device not in self._on_device or self._on_device[device][1].shape[2] < length:
            self._on_device[device] = (
                self.image_slots.to(device),
                self.position_ids(length + 256).to(device),
            )
        slots, positions = self._on_device[device]
        if not tokens.left:
            return Placement(slots, positions[:, :, :length], None)
        attended = tokens.attended
        starts = attended.int().argmax(dim=1, keepdim=True)
        columns = torch.arange(length, device=device)
        own = (columns - starts).clamp(min=0)
        causal = columns.unsqueeze(1) >= columns
        # A padding token attends to itself, because attention to nothing is not a number.
        itself = columns.unsqueeze(1) == columns
        mask = (causal & attended.unsqueeze(1)) | itself
        return Placement(slots + starts, positions[:, 0, own], mask.unsqueeze(1))

    def encode(
        self, instructions: Sequence[str], reasonings: Sequence[str], *, left: bool = False
    ) -> PromptTokens:
        """Prompts with their reasoning, as one batch, padded on the right or on the left.

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
        padding = [[self.pad_id] * (length - len(row)) for row in rows]
        input_ids = torch.tensor(
            [pad + row if left else row + pad for row, pad in zip(rows, padding, strict=True)]
        )
        # Of each token, its place in its own prompt.
        index = torch.arange(length).unsqueeze(0)
        if left:
            index = index - torch.tensor([len(pad) for pad in padding]).unsqueeze(1)
        labels = input_ids.masked_fill((index < starts) | (index > ends), IGNORED)
        is_prompt = (index >= 0) & (index < starts)
        is_reasoning = (index >= starts) & (index < ends + int(self.reasoning_includes_end))
        return PromptTokens(input_ids, is_prompt, is_reasoning, labels, left)
