"""The noise schedule of every expert: epsilon prediction, squared cosine, 100 training steps.

The schedule and its constants are those of diffusers' DDIMScheduler with `squaredcos_cap_v2`, clipping of the
predicted sample to [-1, 1] and `set_alpha_to_one`.
"""

from functools import lru_cache

import torch
from diffusers import DDIMScheduler

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
def alphas_cumprod() -> torch.Tensor:
    """Signal variance at every training step, (TRAIN_STEPS,) float32 on the CPU."""
    return ddim_scheduler().alphas_cumprod.float()


def add_noise(actions: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Noisy actions at steps t (N,) for actions and noise (N, T, A)."""
    alphas = alphas_cumprod().to(actions.device)[t]
    signal, level = alphas.sqrt()[:, None, None], (1 - alphas).sqrt()[:, None, None]
    return signal.to(actions.dtype) * actions + level.to(actions.dtype) * noise
