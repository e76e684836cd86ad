"""Training loss of the experts: mean squared error of what the objective has them predict (the noise, or the
velocity of a flow), of one embodiment or a mixture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from dexvla_model.errors import UserError
from dexvla_model.expert.checks import require_shape
from dexvla_model.expert.interface import ActionExpert
from dexvla_model.expert.objectives import Objective, objective_named


@dataclass(frozen=True)
class ChunkBatch:
    """Action chunks of one embodiment to learn from: B conditions with K chunks each.

    Attributes:
        embodiment: whose head.
        actions: (B, T, A), or (B, K, T, A) for K chunks per condition, normalised.
        condition: (B, C) or (B, 1, C).
        state: (B, S), or (B, K, S) with K chunks, normalised.
        is_pad: (B, T) or (B, K, T) bool, rows behind the end of the episode; None for none.
        noise: (B K R, T, A) for R repeats, sample index slowest to fastest: condition, chunk, repeat. Drawn
            when None.
        t: (B K R,) times of the expert's objective. Drawn as it says when None.
    """

    embodiment: str
    actions: torch.Tensor
    condition: torch.Tensor
    state: torch.Tensor
    is_pad: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    t: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.actions.dim() not in (3, 4) or self.state.dim() != self.actions.dim() - 1:
            self._refuse("actions", self.actions, "(B, T, A) for states (B, S), (B, K, T, A) for (B, K, S)")
        if self.state.shape[:-1] != self.actions.shape[:-2]:
            self._refuse("state", self.state, f"{(*self.actions.shape[:-2], 'S')} as the actions have it")
        if len(self.condition) != len(self.actions):
            self._refuse("condition", self.condition, f"({len(self.actions)}, C), one for each observation")
        if self.is_pad is not None and self.is_pad.shape != self.actions.shape[:-1]:
            self._refuse("is_pad", self.is_pad, f"{tuple(self.actions.shape[:-1])}")

    def _refuse(self, name: str, tensor: torch.Tensor, expected: str) -> None:
        raise UserError(
            f"{name} of embodiment {self.embodiment!r} has shape {tuple(tensor.shape)}, "
            f"expected is {expected}."
        )

    @property
    def rows(self) -> int:
        """Number of action rows, padded ones too."""
        return self.actions.shape[:-1].numel()


def mixed_diffusion_losses(
    expert: ActionExpert,
    parts: Sequence[ChunkBatch],
    *,
    repeats: int = 1,
    generator: torch.Generator | None = None,
) -> list[torch.Tensor]:
    """The loss of each part, a scalar as `diffusion_loss` gives it, with one pass of all through the trunk.

    Args:
        repeats: R noise and time-step samples for each chunk; they share the condition.
        generator: source of the draws, on the device of the actions.

    Raises:
        UserError: unknown embodiment, or a width or horizon that is not that of the expert or of the head.
    """
    objective = objective_named(expert.objective)
    targets, times, noisy = [], [], []
    for part in parts:
        clean = part.actions.flatten(0, -3).repeat_interleave(repeats, dim=0)
        noise, t = _draws(part, clean, objective, generator)
        targets.append(objective.target(clean, noise))
        times.append(t)
        noisy.append((part.embodiment, objective.mix(clean, noise, t)))
    embedded = expert.embed_mixed([(part.embodiment, part.condition, part.state) for part in parts])
    of_samples = torch.cat([e.flatten(0, -2) for e in embedded]).repeat_interleave(repeats, dim=0)
    time = expert.embed_time(objective.network_time(torch.cat(times)))
    c = expert.combine_time(time, of_samples)
    predictions = expert.denoise_mixed(noisy, expert.modulations(c))
    return [
        _mean_error(predicted, target, part.is_pad, repeats)
        for predicted, target, part in zip(predictions, targets, parts, strict=True)
    ]


def mixed_diffusion_loss(
    expert: ActionExpert,
    parts: Sequence[ChunkBatch],
    *,
    repeats: int = 1,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The mean over all rows of all parts, as if they were one batch; a scalar.

    The error of a row is its mean over the robot's action dimensions, so that a row of a 16-jointed hand
    weighs as much as one of a gripper. Rows behind the end of an episode count as zero error, as published;
    rows that pad a shorter horizon to a longer one do not count at all.
    """
    losses = mixed_diffusion_losses(expert, parts, repeats=repeats, generator=generator)
    return mean_over_rows(losses, parts)


def mean_over_rows(losses: Sequence[torch.Tensor], parts: Sequence[ChunkBatch]) -> torch.Tensor:
    """The mean of the parts' losses, each a scalar that counts as often as its part has rows."""
    rows = sum(part.rows for part in parts)
    return torch.stack([loss * (part.rows / rows) for loss, part in zip(losses, parts, strict=True)]).sum()


def diffusion_loss(
    expert: ActionExpert,
    actions: torch.Tensor,
    condition: torch.Tensor,
    state: torch.Tensor,
    embodiment: str,
    *,
    is_pad: torch.Tensor | None = None,
    repeats: int = 1,
    noise: torch.Tensor | None = None,
    t: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Mean squared error of the prediction for one embodiment, a scalar; arguments as in `ChunkBatch`.

    Rows behind the end of an episode count as zero error, and the mean is over all rows, those too: this is
    the published loss.
    """
    part = ChunkBatch(embodiment, actions, condition, state, is_pad, noise, t)
    return mixed_diffusion_losses(expert, [part], repeats=repeats, generator=generator)[0]


def _draws(
    part: ChunkBatch, clean: torch.Tensor, objective: Objective, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise (N, T, A) and times (N,) for clean rows (N, T, A): those of the part, or drawn."""
    noise, t = part.noise, part.t
    require_shape(f"noise of embodiment {part.embodiment!r}", noise, clean.shape)
    require_shape(f"t of embodiment {part.embodiment!r}", t, clean.shape[:1])
    if noise is None:
        noise = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    if t is None:
        t = objective.draw_times(len(clean), clean.device, generator)
    return noise, t


def _mean_error(
    predicted: torch.Tensor, target: torch.Tensor, is_pad: torch.Tensor | None, repeats: int
) -> torch.Tensor:
    error = functional.mse_loss(predicted.float(), target.float(), reduction="none")
    if is_pad is not None:
        valid = ~is_pad.flatten(0, -2).repeat_interleave(repeats, dim=0)
        error = error * valid.unsqueeze(-1)
    return error.mean()
