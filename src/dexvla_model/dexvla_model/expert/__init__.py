"""The action experts: generative models of action chunks with a head per embodiment."""

from dexvla_model.expert.config import (
    EXPERT_PRESETS,
    SCALEDP_PRESETS,
    EmbodimentConfig,
    ExpertConfig,
    ScaleDPConfig,
    UNetConfig,
    expert_config_from_json,
    expert_preset,
)
from dexvla_model.expert.interface import ActionExpert
from dexvla_model.expert.kinds import expert_from_config
from dexvla_model.expert.loss import (
    ChunkBatch,
    diffusion_loss,
    mean_over_rows,
    mixed_diffusion_loss,
    mixed_diffusion_losses,
)
from dexvla_model.expert.objectives import OBJECTIVES
from dexvla_model.expert.sampling import Sampler
from dexvla_model.expert.sampling_config import SamplingConfig, check_solver, own_solver, read_sampling
from dexvla_model.expert.scaledp import ScaleDP
from dexvla_model.expert.unet import UNet

__all__ = [
    "EXPERT_PRESETS",
    "OBJECTIVES",
    "SCALEDP_PRESETS",
    "ActionExpert",
    "ChunkBatch",
    "EmbodimentConfig",
    "ExpertConfig",
    "Sampler",
    "SamplingConfig",
    "ScaleDP",
    "ScaleDPConfig",
    "UNet",
    "UNetConfig",
    "check_solver",
    "diffusion_loss",
    "expert_config_from_json",
    "expert_from_config",
    "expert_preset",
    "mean_over_rows",
    "mixed_diffusion_loss",
    "mixed_diffusion_losses",
    "own_solver",
    "read_sampling",
]
