"""Solvers of the sampling equation. Every coefficient is a number before the first step; steps work in place.

A step takes the noisy rows x = signal clean + level noise and what the network found in them: noise and
clean rows. From a diffusion's noise the clean rows are (x - level noise) / signal, clipped to the range of
normalised actions; from a flow's velocity u = noise - clean, with signal + level = 1, they are x - level u,
and the noise is x + signal u.
"""

import math
from typing import Protocol

import torch

from dexvla_model.expert.objectives import objective_named
from dexvla_model.expert.schedule import TRAIN_STEPS, alphas_cumprod, ddim_scheduler


class Solver(Protocol):
    """A schedule of steps.

    Attributes:
        timesteps: (steps,) on the CPU, as the network is told them.
        signal, level: share of the clean rows and of the noise before each step.
    """

    timesteps: torch.Tensor
    signal: list[float]
    level: list[float]

    def estimates(
        self, step: int, x: torch.Tensor, output: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise and clean rows that the network's output for x means."""

    def advance(self, step: int, x: torch.Tensor, noise: torch.Tensor, clean: torch.Tensor) -> None:
        """Bring x to the noise level of the next step. `clean` may be changed, and kept until then."""


class _OfDiffusion:
    """A solver for networks that predict the noise of a diffusion."""

    signal: list[float]
    level: list[float]

    def estimates(
        self, step: int, x: torch.Tensor, output: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Solver`."""
        return output, torch.sub(x, output, alpha=self.level[step]).div_(self.signal[step])


class DDIM(_OfDiffusion):
    """DDIM without added noise (Song et al. 2021, equation 12 with eta = 0), as diffusers' DDIMScheduler."""

    def __init__(self, steps: int) -> None:
        scheduler = ddim_scheduler()
        scheduler.set_timesteps(steps)
        self.timesteps = scheduler.timesteps
        alphas = alphas_cumprod()
        now = alphas[self.timesteps]
        previous = self.timesteps - TRAIN_STEPS // steps
        after = torch.where(previous >= 0, alphas[previous.clamp(min=0)], scheduler.final_alpha_cumprod)
        self.signal, self.level = now.sqrt().tolist(), (1 - now).sqrt().tolist()
        self._next_signal, self._next_level = after.sqrt().tolist(), (1 - after).sqrt().tolist()

    def advance(self, step: int, x: torch.Tensor, noise: torch.Tensor, clean: torch.Tensor) -> None:
        """See `Solver`."""
        torch.mul(clean.clamp_(-1.0, 1.0), self._next_signal[step], out=x)
        x.add_(noise, alpha=self._next_level[step])


class DPMSolverPP(_OfDiffusion):
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), with the time steps of diffusers' scheduler of that
    name.

    With lambda = log(signal / level), h its increase over a step and r the ratio of the step before to this
    one,

        x' = level'/level x - signal' (exp(-h) - 1) (clean + (clean - clean before) / (2 r))

    The first and the last step are of first order: nothing is known before the one, and the other ends
    without noise.
    """

    def __init__(self, steps: int) -> None:
        self.timesteps = (
            torch.linspace(0, TRAIN_STEPS - 1, steps + 1, dtype=torch.float64).round().long().flip(0)[:-1]
        )
        alphas = [*alphas_cumprod()[self.timesteps].double().tolist(), 1.0]
        signal, level = [math.sqrt(a) for a in alphas], [math.sqrt(1.0 - a) for a in alphas]
        lambdas = [math.log(s / n) if n > 0.0 else math.inf for s, n in zip(signal, level)]
        self.signal, self.level = signal[:-1], level[:-1]
        self._coefficients: list[tuple[float, float, float]] = []
        for i in range(steps):
            h = lambdas[i + 1] - lambdas[i]
            gain = -signal[i + 1] * math.expm1(-h)
            second = 0.0
            if 0 < i < steps - 1:
                second = 0.5 * gain * h / (lambdas[i] - lambdas[i - 1])
            self._coefficients.append((level[i + 1] / level[i], gain + second, -second))
        self._before: torch.Tensor | None = None

    def advance(self, step: int, x: torch.Tensor, noise: torch.Tensor, clean: torch.Tensor) -> None:
        """See `Solver`."""
        keep, now, before = self._coefficients[step]
        x.mul_(keep).add_(clean.clamp_(-1.0, 1.0), alpha=now)
        if before:
            x.add_(self._before, alpha=before)
        self._before = clean


class Euler:
    """Euler's method for a flow, as pi0 draws chunks (Black et al. 2024, section IV): x' = x + (t' - t) u.

    Time goes from 1 to 0 in equal steps. Written with the noise and the clean rows that u means, a step is
    x' = (1 - t') clean + t' noise, to which whatever moved the clean rows in between comes along.
    """

    def __init__(self, steps: int) -> None:
        times = [1.0 - step / steps for step in range(steps)]
        self.timesteps = objective_named("flow_matching").network_time(torch.tensor(times))
        self.signal, self.level = [1.0 - t for t in times], times
        self._next_level = [*times[1:], 0.0]

    def estimates(
        self, step: int, x: torch.Tensor, output: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Solver`."""
        return (
            torch.add(x, output, alpha=self.signal[step]), torch.sub(x, output, alpha=self.level[step])
        )

    def advance(self, step: int, x: torch.Tensor, noise: torch.Tensor, clean: torch.Tensor) -> None:
        """See `Solver`."""
        torch.mul(clean, 1.0 - self._next_level[step], out=x)
        x.add_(noise, alpha=self._next_level[step])


def make_solver(name: str, steps: int) -> Solver:
    """A solver by the name that `SamplingConfig` has for it."""
    return {"ddim": DDIM, "dpm++": DPMSolverPP, "euler": Euler}[name](steps)
