"""What an expert learns to predict from noisy chunks: the noise of a diffusion, or the velocity of a flow.

Both mix a chunk with normal noise, x = signal clean + level noise, tell the network the share of noise as a
time, and regress something linear in clean chunk and noise. They differ in the path from one to the other, in
the times that are drawn, and in what is predicted. Network, heads, batches and sampler are the same.

Flow matching is that of pi0 (Black et al. 2024, "pi0: A vision-language-action flow model for general robot
control", section IV and appendix B), with the direction of time of its public code, openpi: t = 1 is noise.

    x_t = t noise + (1 - t) clean,   u_t = noise - clean,   t = 0.001 + 0.999 Beta(1.5, 1)

The Beta distribution draws times of much noise more often: what is hard is to tell the chunk from the
observation, not to polish it.
"""

from typing import Protocol

import torch

from dexvla_model.errors import UserError
from dexvla_model.expert.schedule import TRAIN_STEPS, add_noise

DIFFUSION, FLOW_MATCHING = "diffusion", "flow_matching"
OBJECTIVES = (DIFFUSION, FLOW_MATCHING)
# Smallest time, and the exponent of Beta(1.5, 1), whose distribution function is t^1.5.
_LEAST_TIME, _BETA = 0.001, 1.5


class Objective(Protocol):
    """Shapes: N samples, T rows, A action size."""

    def draw_times(
        self, count: int, device: torch.device, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Times (N,) to train at."""

    def mix(self, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Noisy rows (N, T, A) at times t (N,)."""

    def target(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the network should say (N, T, A)."""

    def network_time(self, t: torch.Tensor) -> torch.Tensor:
        """Times (N,) as the network is told them, from 0 to TRAIN_STEPS."""


class Diffusion:
    """The noise of a diffusion with the schedule of `dexvla_model.expert.schedule`; times are its steps."""

    def draw_times(
        self, count: int, device: torch.device, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Steps (N,) int64, evenly."""
        return torch.randint(0, TRAIN_STEPS, (count,), generator=generator, device=device)

    def mix(self, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """See `add_noise`."""
        return add_noise(clean, noise, t)

    def target(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The noise."""
        return noise

    def network_time(self, t: torch.Tensor) -> torch.Tensor:
        """The steps themselves."""
        return t


class FlowMatching:
    """The velocity of a straight flow; times are shares of noise in (0, 1]."""

    def draw_times(
        self, count: int, device: torch.device, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Times (N,) float32, as pi0 draws them (appendix B)."""
        even = torch.rand(count, generator=generator, device=device)
        return _LEAST_TIME + (1.0 - _LEAST_TIME) * even ** (1.0 / _BETA)

    def mix(self, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Rows on the straight line between both."""
        t = t.to(clean.dtype)[:, None, None]
        return t * noise + (1 - t) * clean

    def target(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The velocity in the direction of growing time, towards the noise."""
        return noise - clean

    def network_time(self, t: torch.Tensor) -> torch.Tensor:
        """Scaled to the steps of the diffusion, for which the sinusoids of the time embedding are made."""
        return TRAIN_STEPS * t


_OBJECTIVES: dict[str, Objective] = {DIFFUSION: Diffusion(), FLOW_MATCHING: FlowMatching()}


def objective_named(name: str) -> Objective:
    """An objective by the name that an expert's configuration has for it."""
    return _OBJECTIVES[name]


def require_objective(name: object) -> None:
    """Raises UserError for a name that no objective has."""
    if name not in OBJECTIVES:
        raise UserError(f"expert.objective is {name!r}, allowed are {', '.join(OBJECTIVES)}.")
