"""From a configuration to the expert that it describes."""

from collections.abc import Mapping

from dexvla_model.expert.config import EmbodimentConfig, ExpertConfig, UNetConfig
from dexvla_model.expert.interface import ActionExpert
from dexvla_model.expert.scaledp import ScaleDP
from dexvla_model.expert.unet import UNet


def expert_from_config(config: ExpertConfig, embodiments: Mapping[str, EmbodimentConfig]) -> ActionExpert:
    """A freshly initialised expert with a head for each embodiment.

    Raises:
        UserError: an embodiment has a bad name.
    """
    return UNet(config, embodiments) if isinstance(config, UNetConfig) else ScaleDP(config, embodiments)
