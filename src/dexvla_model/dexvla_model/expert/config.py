"""Sizes of the action experts and of the heads that depend on a robot."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dexvla_model.errors import UserError
from dexvla_model.expert.objectives import DIFFUSION, require_objective
from dexvla_model.json_fields import table_of, take_fields


def _require_positive(config, fields: tuple[str, ...]) -> None:
    for field in fields:
        value = getattr(config, field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{field} is {value!r}, it must be a whole number of at least 1.")


def _require_kind(config, kind: str) -> None:
    if config.kind != kind:
        raise UserError(f"expert.kind is {config.kind!r}, the one of these sizes is {kind!r}: leave it out.")


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
        objective: what it predicts, `diffusion` or `flow_matching`; see `dexvla_model.expert.objectives`.
        kind: tells the kinds of experts apart in JSON.
    """

    depth: int
    width: int
    heads: int
    condition_width: int
    combine_width: int = 1024
    mlp_ratio: int = 4
    time_frequency_size: int = 256
    objective: str = DIFFUSION
    kind: str = "scaledp"

    def __post_init__(self) -> None:
        _require_kind(self, "scaledp")
        require_objective(self.objective)
        _require_positive(self, ("depth", "width", "heads", "condition_width", "combine_width", "mlp_ratio"))
        if self.width % self.heads:
            raise UserError(
                f"expert.heads is {self.heads}, no divisor of expert.width {self.width}: choose one."
            )
        if self.time_frequency_size < 4 or self.time_frequency_size % 2:
            raise UserError(
                f"expert.time_frequency_size is {self.time_frequency_size}, allowed are even numbers from 4."
            )


@dataclass(frozen=True)
class UNetConfig:
    """The trunk of the U-Net expert, shared by all embodiments.

    Attributes:
        widths: channels at each resolution, from the finest; each further one has half as many rows.
        condition_width: C, width of the condition that the fusion gives.
        kernel_size: of the convolutions along the rows; odd.
        groups: of the group norms; must divide every width.
        time_width: F, width of the time embedding; even.
        objective: as in `ScaleDPConfig`.
        kind: tells the kinds of experts apart in JSON.
    """

    widths: tuple[int, ...]
    condition_width: int
    kernel_size: int = 5
    groups: int = 8
    time_width: int = 256
    objective: str = DIFFUSION
    kind: str = "unet"

    def __post_init__(self) -> None:
        _require_kind(self, "unet")
        require_objective(self.objective)
        if not isinstance(self.widths, list | tuple) or len(self.widths) < 2:
            raise UserError(f"expert.widths is {self.widths!r}, needed is a list of at least two widths.")
        object.__setattr__(self, "widths", tuple(self.widths))
        _require_positive(self, ("condition_width", "kernel_size", "groups"))
        for width in self.widths:
            if isinstance(width, bool) or not isinstance(width, int) or width < 1 or width % self.groups:
                raise UserError(
                    f"expert.widths holds {width!r}, allowed are multiples of expert.groups {self.groups}."
                )
        if self.kernel_size % 2 == 0:
            raise UserError(f"expert.kernel_size is {self.kernel_size}, allowed are odd numbers.")
        if self.time_width < 4 or self.time_width % 2:
            raise UserError(f"expert.time_width is {self.time_width}, allowed are even numbers from 4.")


ExpertConfig = ScaleDPConfig | UNetConfig

# ScaleDP: the published sizes H and L, and two that train on a CPU. U-Net: the published code's Diffusion
# Policy baseline (its defaults, behind Qwen2-VL-2B), and two small ones.
EXPERT_PRESETS: dict[str, ExpertConfig] = {
    "scaledp-h": ScaleDPConfig(depth=32, width=1280, heads=16, condition_width=1536),
    "scaledp-l": ScaleDPConfig(depth=24, width=1024, heads=16, condition_width=1536),
    "scaledp-tiny": ScaleDPConfig(depth=4, width=160, heads=5, condition_width=160, combine_width=256),
    "scaledp-nano": ScaleDPConfig(
        depth=2, width=64, heads=4, condition_width=64, combine_width=128, time_frequency_size=64
    ),
    "unet": UNetConfig(widths=(256, 512, 1024), condition_width=1536),
    "unet-tiny": UNetConfig(widths=(64, 128, 192), condition_width=160, time_width=64),
    "unet-nano": UNetConfig(widths=(16, 24, 32), condition_width=64, time_width=32),
}
SCALEDP_PRESETS = {name: size for name, size in EXPERT_PRESETS.items() if isinstance(size, ScaleDPConfig)}


def expert_preset(name: str, **changes: Any) -> ExpertConfig:
    """The preset `name` with fields replaced by `changes`.

    Raises:
        UserError: unknown name, a change that this kind of expert does not have, or sizes that do not go
            together.
    """
    if name not in EXPERT_PRESETS:
        raise UserError(
            f"expert preset {name!r} is unknown, allowed are {', '.join(sorted(EXPERT_PRESETS))}."
        )
    preset = EXPERT_PRESETS[name]
    take_fields(type(preset), vars(preset) | changes, f"expert preset {name!r}")
    return replace(preset, **changes)


def expert_config_from_json(values: Any, where: str) -> ExpertConfig:
    """The trunk that `dataclasses.asdict` wrote; without `kind` it is a ScaleDP.

    Raises:
        UserError: naming the key that is unknown, missing or out of range; `where` names file and table.
    """
    kinds: Mapping[Any, type] = {"scaledp": ScaleDPConfig, "unet": UNetConfig}
    kind = table_of(values, where).get("kind", "scaledp")
    if kind not in kinds:
        raise UserError(f"{where}: kind is {kind!r}, allowed are {', '.join(kinds)}.")
    return kinds[kind](**take_fields(kinds[kind], values, where))
