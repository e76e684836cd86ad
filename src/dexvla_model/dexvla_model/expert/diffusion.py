"""Training loss and sampler of the expert: epsilon prediction, squared-cosine schedule, DDIM.

The schedule and its constants are those of diffusers' DDIMScheduler with 100 training steps,
`squaredcos_cap_v2`, clipping of the predicted sample to [-1, 1] and `set_alpha_to_one`. The update is written
out here because its coefficients are known before the loop: nothing but the network runs inside it.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from diffusers import DDIMScheduler
from torch.nn import functional

from dexvla_model.expert.scaledp import ScaleDP

TRAIN_STEPS = 100
SAMPLE_STEPS = 10


def ddim_scheduler() -> DDIMScheduler:
    """The scheduler that defines training noise and sampling of every expert here."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        set_alpha_to_one=True,
        steps_offset=0,
        prediction_type="epsilon",
    )


@lru_cache(maxsize=1)
def _alphas_cumprod() -> torch.Tensor:
    return ddim_scheduler().alphas_cumprod.float()


@dataclass(frozen=True)
class DDIMTable:
    """Coefficients of all sampling steps, each (steps,): signal and noise level before and after it."""

    timesteps: torch.Tensor
    signal: torch.Tensor
    noise: torch.Tensor
    next_signal: torch.Tensor
    next_noise: torch.Tensor


@lru_cache(maxsize=8)
def ddim_table(steps: int = SAMPLE_STEPS) -> DDIMTable:
    """Coefficients for `steps` DDIM steps (Song et al. 2021, equation 12 with eta = 0)."""
    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    alphas = _alphas_cumprod()
    now = alphas[timesteps]
    previous = timesteps - TRAIN_STEPS // steps
    after = torch.where(previous >= 0, alphas[previous.clamp(min=0)], scheduler.final_alpha_cumprod)
    return DDIMTable(timesteps, now.sqrt(), (1 - now).sqrt(), after.sqrt(), (1 - after).sqrt())


def add_noise(actions: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Noisy actions at steps t (N,) for actions and noise (N, T, A)."""
    alphas = _alphas_cumprod().to(actions.device)[t]
    signal, level = alphas.sqrt()[:, None, None], (1 - alphas).sqrt()[:, None, None]
    return signal.to(actions.dtype) * actions + level.to(actions.dtype) * noise


def diffusion_loss(
    expert: ScaleDP,
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
    """Mean squared error of the predicted noise, a scalar.

    Padded rows count as zero error, and the mean is over all rows, padded ones too: this is the published
    loss.

    Args:
        actions: (B, T, A), or (B, K, T, A) for K chunks per condition, normalised.
        condition: (B, C) or (B, 1, C).
        state: (B, S), or (B, K, S) with K chunks, normalised.
        is_pad: (B, T) or (B, K, T) bool, rows behind the end of the episode.
        repeats: R noise and time-step samples for each chunk; they share the condition.
        noise: (B K R, T, A), sample index slowest to fastest: condition, chunk, repeat. Drawn when None.
        t: (B K R,) time steps. Drawn uniformly when None.
        generator: source of the draws, on the device of `actions`.
    """
    chunks = actions if actions.dim() == 4 else actions.unsqueeze(1)
    states = state if state.dim() == 3 else state.unsqueeze(1)
    b, k, rows, size = chunks.shape
    n = b * k * repeats
    clean = chunks.reshape(b * k, rows, size).repeat_interleave(repeats, dim=0)
    device = actions.device
    if noise is None:
        noise = torch.randn(n, rows, size, generator=generator, device=device, dtype=actions.dtype)
    if t is None:
        t = torch.randint(0, TRAIN_STEPS, (n,), generator=generator, device=device)
    embedded = expert.embed_condition(condition, states, embodiment).reshape(b * k, -1)
    c = embedded.repeat_interleave(repeats, dim=0) + expert.t_embedder(t)
    predicted = expert.denoise(add_noise(clean, noise, t), expert.modulations(c), embodiment)
    error = functional.mse_loss(predicted.float(), noise.float(), reduction="none")
    if is_pad is not None:
        valid = ~is_pad.reshape(b * k, rows).repeat_interleave(repeats, dim=0)
        error = error * valid.unsqueeze(-1)
    return error.mean()


def ddim_sample(
    expert: ScaleDP,
    condition: torch.Tensor,
    state: torch.Tensor,
    embodiment: str,
    *,
    noise: torch.Tensor | None = None,
    prefix: torch.Tensor | None = None,
    steps: int = SAMPLE_STEPS,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Sample action chunks (B, T, A), normalised, by DDIM without added noise.

    Args:
        condition: (B, C) or (B, 1, C).
        state: (B, S), normalised.
        noise: (B, T, A) the sample to start from. Drawn with `generator` when None.
        prefix: (B, P, A) rows that are decided already. Before every step they are replaced by themselves at
            that step's noise level (inpainting, Lugmayr et al. 2022), and they are returned unchanged.
        steps: number of DDIM steps.
    """
    table = ddim_table(steps)
    shape = expert.head(embodiment).config
    b = state.shape[0]
    if noise is None:
        size = (b, shape.horizon, shape.action_size)
        noise = torch.randn(size, generator=generator, device=state.device, dtype=state.dtype)
    embedded = expert.embed_condition(condition, state, embodiment)
    time = expert.t_embedder(table.timesteps.to(state.device)).unsqueeze(1)
    # The modulations do not depend on the sample: those of all steps come out of one batch.
    of_steps = [m.unflatten(0, (steps, b)) for m in expert.modulations((time + embedded).flatten(0, 1))]
    signal, level = table.signal.tolist(), table.noise.tolist()
    next_signal, next_level = table.next_signal.tolist(), table.next_noise.tolist()
    rows = 0 if prefix is None else prefix.shape[1]
    x = noise.clone()
    for i in range(steps):
        if rows:
            x[:, :rows] = signal[i] * prefix + level[i] * noise[:, :rows]
        epsilon = expert.denoise(x, tuple(m[i] for m in of_steps), embodiment).to(x.dtype)
        clean = ((x - level[i] * epsilon) / signal[i]).clamp(-1.0, 1.0)
        x = next_signal[i] * clean + next_level[i] * epsilon
    if rows:
        x[:, :rows] = prefix
    return x
