"""The action expert: a diffusion transformer with a head per embodiment."""

from dexvla_model.expert.config import SCALEDP_PRESETS, EmbodimentConfig, ScaleDPConfig, scaledp_preset
from dexvla_model.expert.diffusion import ddim_sample, diffusion_loss
from dexvla_model.expert.scaledp import ScaleDP

__all__ = [
    "SCALEDP_PRESETS",
    "EmbodimentConfig",
    "ScaleDP",
    "ScaleDPConfig",
    "ddim_sample",
    "diffusion_loss",
    "scaledp_preset",
]
