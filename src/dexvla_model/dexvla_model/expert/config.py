"""Sizes of the action expert and of the heads that depend on a robot."""

from dataclasses import dataclass, replace

from dexvla_model.errors import UserError


def _require_positive(config, fields: tuple[str, ...]) -> None:
    for field in fields:
        value = getattr(config, field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{field} is {value!r}, it must be a whole number of at least 1.")


@dataclass(frozen=True)
class EmbodimentConfig:
    """The part of the expert's shape that belongs to one embodiment.

    Attributes:
        state_size: S, length of the proprioceptive state vector.
        action_size: A, length of one action row.
        horizon: T, number of rows in an action chunk.
    """

    state_size: int
    action_size: int
    horizon: int

    def __post_init__(self) -> None:
        _require_positive(self, ("state_size", "action_size", "horizon"))


@dataclass(frozen=True)
class ScaleDPConfig:
    """The trunk of ScaleDP, shared by all embodiments.

    Attributes:
        depth: number of transformer blocks.
        width: W, width of the residual stream.
        heads: attention heads; must divide `width`.
        condition_width: C, width of the condition that the fusion gives.
        combine_width: hidden width of the MLP over (condition, state).
        mlp_ratio: hidden width of a block's MLP over `width`.
        time_frequency_size: width of the sinusoidal time embedding; even.
    """

    depth: int
    width: int
    heads: int
    condition_width: int
    combine_width: int = 1024
    mlp_ratio: int = 4
    time_frequency_size: int = 256

    def __post_init__(self) -> None:
        _require_positive(self, ("depth", "width", "heads", "condition_width", "combine_width", "mlp_ratio"))
        if self.width % self.heads:
            raise UserError(
                f"expert.heads is {self.heads}, no divisor of expert.width {self.width}: choose one."
            )
        if self.time_frequency_size < 4 or self.time_frequency_size % 2:
            raise UserError(
                f"expert.time_frequency_size is {self.time_frequency_size}, allowed are even numbers from 4."
            )


# Depth, width and heads of the published sizes (ScaleDP-H, ScaleDP-L) and of two that train on a CPU.
SCALEDP_PRESETS: dict[str, ScaleDPConfig] = {
    "scaledp-h": ScaleDPConfig(depth=32, width=1280, heads=16, condition_width=1536),
    "scaledp-l": ScaleDPConfig(depth=24, width=1024, heads=16, condition_width=1536),
    "scaledp-tiny": ScaleDPConfig(depth=4, width=160, heads=5, condition_width=160, combine_width=256),
    "scaledp-nano": ScaleDPConfig(
        depth=2, width=64, heads=4, condition_width=64, combine_width=128, time_frequency_size=64
    ),
}


def scaledp_preset(name: str, **changes) -> ScaleDPConfig:
    """The preset `name` with fields replaced by `changes`. Raises UserError for a name that is not there."""
    if name not in SCALEDP_PRESETS:
        raise UserError(
            f"expert preset {name!r} is unknown, allowed are {', '.join(sorted(SCALEDP_PRESETS))}."
        )
    return replace(SCALEDP_PRESETS[name], **changes)
