"""Small backbones of every family with a prompt, texts and images."""

from dataclasses import dataclass

import pytest
import torch

from dexvla_model.vlm import Backbone, ImageSize, Prompt, PromptTokens, backbone_preset, special_token_ids
from dexvla_model.vlm.images import pixel_values
from dexvla_model.vlm.prompt import IGNORED

INSTRUCTIONS = ["put the red cube in the tray", "go"]
REASONINGS = ["move above the cube at 10 -20", "done"]


@dataclass
class Scene:
    """A backbone that reads two prompts of different lengths."""

    vlm: Backbone
    prompt: Prompt
    tokens: PromptTokens
    images: dict[str, torch.Tensor]

    def states(self, tokens: PromptTokens | None = None) -> torch.Tensor:
        tokens = tokens or self.tokens
        where = self.prompt.place(tokens)
        seen = self.vlm.encode_images(self.images)
        return self.vlm.read(tokens.input_ids, seen, where.image_slots, where.position_ids, where.mask)

    def transformers_inputs(self, tokens: PromptTokens | None = None) -> dict[str, torch.Tensor]:
        """The same input as transformers' own processor would make it: images sample by sample."""
        tokens = tokens or self.tokens
        values, grids = [], []
        for row in range(len(tokens.input_ids)):
            for batch in self.images.values():
                value, grid = pixel_values(batch[row : row + 1], self.vlm.geometry)
                values.append(value)
                grids.append(grid)
        qwen = self.vlm.qwen
        return {
            "input_ids": tokens.input_ids,
            "attention_mask": tokens.attended.long(),
            "pixel_values": torch.cat(values),
            "image_grid_thw": torch.cat(grids),
            "mm_token_type_ids": (tokens.input_ids == qwen.config.image_token_id).int(),
        }


@pytest.fixture
def make_scene(tokenizer):
    """A scene of the family of a preset; images are of 5 x 4 and 3 x 3 tokens."""

    def make(preset: str, seed: int = 1, left: bool = False, **options) -> Scene:
        torch.manual_seed(seed)
        config = backbone_preset(preset, special_token_ids(tokenizer))
        vlm = Backbone(config).eval()
        with torch.no_grad():
            for weight in vlm.parameters():
                if weight.dim() > 1:
                    weight.normal_(0, 0.1)
                else:
                    # Biases and norms too, so that nothing is hidden behind a zero or a one.
                    weight.add_(0.1 * torch.randn_like(weight))
            if vlm.patch_positions is not None:
                # transformers' Qwen2-VL has no such positions.
                for weight in vlm.patch_positions.parameters():
                    weight.zero_()
        unit = vlm.geometry.unit
        cameras = {"scene": ImageSize(5 * unit, 4 * unit), "wrist": ImageSize(3 * unit, 3 * unit)}
        prompt = Prompt(tokenizer, cameras, vlm.geometry, **options)
        images = {
            role: torch.randint(0, 256, (2, size.height, size.width, 3), dtype=torch.uint8)
            for role, size in cameras.items()
        }
        return Scene(vlm, prompt, prompt.encode(INSTRUCTIONS, REASONINGS, left=left), images)

    return make


@pytest.fixture(params=["nano", "qwen2.5-vl-nano", "qwen3-vl-nano"])
def preset(request) -> str:
    """A small size of each family."""
    return request.param


@pytest.fixture
def used():
    """Which tokens of a batch are no padding, worked out from the labels."""
    return lambda tokens: tokens.prompt_mask | (tokens.labels != IGNORED)
