"""Rows of a chunk that are known beforehand, and how the others are made to fit them.

Real-time chunking (Black, Galliker, Levine 2025, "Real-time execution of action chunking flow policies")
guides a flow towards the rows that the previous chunk had scheduled, by the pseudoinverse guidance of Song et
al. 2023 with a soft mask W. For a flow with time tau, x = tau clean + (1 - tau) noise, and J = d clean / d x,
the estimate moves by

    clean' = clean + (1 - tau) min(beta, (1 - tau) / (tau r^2)) J^T W (target - clean),
    r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2)

The rows of a diffusion, x = signal clean + level noise with signal^2 + level^2 = 1, are those of the flow
divided by c = sqrt(tau^2 + (1 - tau)^2), at the time where signal = tau / c and level = (1 - tau) / c. With J
taken by the diffusion's x it is J / c in the formula, and what is left of it is

    clean' = clean + min(level beta, 1 / signal) J^T W (target - clean)
    noise' = (x - signal clean') / level

One weight says both: min(level beta, (signal^2 + level^2) / signal), with signal = tau and level = 1 - tau
for the flow itself.

Without the limit, this is the posterior mean given the target for Gaussian data: a normal x has
clean = signal x, J = signal, and clean' = target where W is 1.
"""

import math

import torch


def soft_mask(committed: int, scheduled: int) -> list[float]:
    """Weights W of P committed and R scheduled rows: 1, then decaying (equation 5 of real-time chunking).

    W_i = c_i (exp(c_i) - 1) / (e - 1) with c_i falling linearly from R / (R + 1) to 1 / (R + 1).
    """
    falling = [(scheduled - i) / (scheduled + 1) for i in range(scheduled)]
    return [1.0] * committed + [c * math.expm1(c) / (math.e - 1.0) for c in falling]


def guidance_weights(signal: list[float], level: list[float], largest: float) -> list[float]:
    """min(level beta, (signal^2 + level^2) / signal) of every step."""
    return [
        min(noise * largest, (share * share + noise * noise) / share) if share else noise * largest
        for share, noise in zip(signal, level)
    ]


def pull(clean: torch.Tensor, x: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """J^T W (target - clean) for clean rows that were computed from the leaf x; all (B, T, A), but W (T,
    1)."""
    # Where noise dominates the estimate is far outside the range of actions; only what is left of it counts.
    residual = mask * (target - clean.detach().clamp(-1.0, 1.0))
    return torch.autograd.grad(clean, x, residual)[0]
