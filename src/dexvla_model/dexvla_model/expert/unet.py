"""The U-Net expert: the conditional 1-D U-Net of "Diffusion policy" (Chi et al. 2023), the small baseline.

Sizes and arithmetic are those of the U-Net head in the published DexVLA code, with a head per embodiment:

    trunk:  time embedder, norm of the condition, combine Linear (but for its state columns), all blocks
            (but for the two convolutions of the first one that read the actions)
    head:   those two, action out, state in; nothing has the size of the horizon

The published network takes only horizons that all its halvings divide. Here a halving of an odd number of
rows rounds up, and what is doubled later is cut to the rows from which it came: where the published network
is defined, this is the same.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from dexvla_model.expert.config import EmbodimentConfig, UNetConfig
from dexvla_model.expert.convolutions import ConvolutionBlock, ModulatedBlock, ResidualBlock, keep_rows
from dexvla_model.expert.heads import ConvolutionalHead
from dexvla_model.expert.interface import ActionExpert
from dexvla_model.expert.row_padding import row_mask
from dexvla_model.expert.time_embedding import UNetTimeEmbedder


class UNet(ActionExpert):
    """Conditional 1-D U-Net over the rows of a chunk. See `ActionExpert`; E = C, E' = F + C."""

    config: UNetConfig
    _row_axis = 2

    def __init__(self, config: UNetConfig, embodiments: Mapping[str, EmbodimentConfig]) -> None:
        super().__init__()
        self.config = config
        width, widths = config.condition_width, config.widths
        sizes = (config.kernel_size, config.groups, config.time_width + width)

        def two_blocks(inward: int, outward: int) -> nn.ModuleList:
            return nn.ModuleList(
                [ResidualBlock(inward, outward, *sizes), ResidualBlock(outward, outward, *sizes)]
            )

        self.t_embedder = UNetTimeEmbedder(config.time_width)
        self.condition_norm = nn.LayerNorm(width)
        self.combine = nn.Linear(width, width)
        self.entry = ModulatedBlock(widths[0], *sizes)
        finest = nn.ModuleList([ResidualBlock(widths[0], widths[0], *sizes)])
        finer, coarser = widths[:-1], widths[1:]
        self.down = nn.ModuleList([finest, *map(two_blocks, finer, coarser)])
        self.halving = nn.ModuleList(nn.Conv1d(w, w, 3, stride=2, padding=1) for w in finer)
        self.middle = two_blocks(widths[-1], widths[-1])
        self.up = nn.ModuleList(two_blocks(2 * c, f) for f, c in zip(finer[::-1], coarser[::-1], strict=True))
        self.doubling = nn.ModuleList(nn.ConvTranspose1d(w, w, 4, stride=2, padding=1) for w in finer[::-1])
        self.exit = ConvolutionBlock(widths[0], widths[0], config.kernel_size, config.groups)
        self._add_heads(embodiments)

    def _blocks(self) -> list[ModulatedBlock]:
        """All modulated blocks in the order of their use."""
        stages = (*self.down, self.middle, *self.up)
        return [self.entry, *(block for stage in stages for block in stage)]

    def _new_head(self, embodiment: EmbodimentConfig) -> ConvolutionalHead:
        config = self.config
        return ConvolutionalHead(embodiment, config.widths[0], config.kernel_size, config.condition_width)

    def _condition_features(self, condition: torch.Tensor) -> torch.Tensor:
        return self.combine(self.condition_norm(condition))

    def _embed(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def embed_time(self, t: torch.Tensor) -> torch.Tensor:
        """Time steps (N,) -> (N, F)."""
        return self.t_embedder(t)

    def combine_time(self, time: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Both beside each other, (..., F + C)."""
        leading = torch.broadcast_shapes(time.shape[:-1], embedded.shape[:-1])
        return torch.cat([time.expand(*leading, -1), embedded.expand(*leading, -1)], dim=-1)

    def modulations(self, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Scale and shift of every block for c (N, F + C): (N, 2 W) each."""
        activated = functional.mish(c)
        return tuple(block.film(activated) for block in self._blocks())

    def _trunk(
        self, h: torch.Tensor, modulations: Sequence[torch.Tensor], lengths: torch.Tensor | None
    ) -> torch.Tensor:
        of_blocks = iter(modulations)
        mask = _mask(lengths, h.shape[2])
        first, shortcut = h.chunk(2, dim=1)
        h = self.entry(first, shortcut, next(of_blocks), mask)
        kept = []
        for level, stage in enumerate(self.down):
            if level:
                h = self.halving[level - 1](keep_rows(h, mask))
                lengths = None if lengths is None else (lengths + 1) // 2
                mask = _mask(lengths, h.shape[2])
            for block in stage:
                h = block(h, next(of_blocks), mask)
            kept.append((h, mask))
        for block in self.middle:
            h = block(h, next(of_blocks), mask)
        for stage, doubling in zip(self.up, self.doubling, strict=True):
            h = torch.cat([h, kept.pop()[0]], dim=1)
            for block in stage:
                h = block(h, next(of_blocks), mask)
            # The finest level is kept for its rows alone: as published, nothing joins what it computed.
            finer, finer_mask = kept[-1]
            h, mask = doubling(keep_rows(h, mask))[..., : finer.shape[2]], finer_mask
        return self.exit(h, mask)


def _mask(lengths: torch.Tensor | None, rows: int) -> torch.Tensor | None:
    return None if lengths is None else row_mask(lengths, rows).unsqueeze(1)
