"""How chunks are drawn from an expert."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dexvla_model.errors import UserError
from dexvla_model.expert.objectives import DIFFUSION, FLOW_MATCHING
from dexvla_model.expert.schedule import SAMPLE_STEPS, TRAIN_STEPS
from dexvla_model.json_fields import table_of, take_fields

# By objective, the first of them its own.
SOLVERS_OF = {DIFFUSION: ("ddim", "dpm++"), FLOW_MATCHING: ("euler",)}
SOLVERS = tuple(name for names in SOLVERS_OF.values() for name in names)
CONTINUITY = ("none", "inpaint", "guided")


@dataclass(frozen=True)
class SamplingConfig:
    """The sampler of a policy.

    Attributes:
        solver: `ddim` (Song et al. 2021), as published, or `dpm++`, second-order DPM-Solver++ (Lu et al.
            2022), which needs fewer steps; `euler` for a flow, as pi0 (Black et al. 2024).
        steps: evaluations of the network for a chunk.
        noise_scale: standard deviation of the noise that sampling starts from. 1 draws a chunk as the
            diffusion was trained; towards 0 it gives the chunk in the middle, steadier where demonstrations
            agree with each other.
        continuity: what rows that are known beforehand do to the others. `none`: nothing, they only replace
            what was drawn; `inpaint`: the network sees the committed rows in the place of its own; `guided`:
            besides, rows that were scheduled behind them pull the chunk, see `dexvla_model.expert.guidance`.
        guidance_max: largest guidance weight, beta in the paper.
    """

    solver: str = "ddim"
    steps: int = SAMPLE_STEPS
    noise_scale: float = 1.0
    continuity: str = "guided"
    guidance_max: float = 5.0

    def __post_init__(self) -> None:
        """Raises UserError: a value that is not allowed."""
        for name, allowed in (("solver", SOLVERS), ("continuity", CONTINUITY)):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"sampling.{name} is {getattr(self, name)!r}, "
                    f"allowed are {', '.join(allowed)}: choose one."
                )
        if (
            isinstance(self.steps, bool)
            or not isinstance(self.steps, int)
            or not 1 <= self.steps <= TRAIN_STEPS
        ):
            raise UserError(
                f"sampling.steps is {self.steps!r}, "
                f"allowed are whole numbers from 1 to {TRAIN_STEPS}: correct it."
            )
        for name, highest in (("noise_scale", 1.0), ("guidance_max", 1000.0)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not 0.0 <= value <= highest:
                raise UserError(f"sampling.{name} is {value!r}, it must lie in [0, {highest:g}]: correct it.")


def own_solver(objective: str) -> str:
    """The solver that an objective has unless another one is chosen."""
    return SOLVERS_OF[objective][0]


def check_solver(sampling: SamplingConfig, objective: str) -> None:
    """Raises UserError where an expert of that objective cannot be drawn from so."""
    if sampling.solver not in SOLVERS_OF[objective]:
        raise UserError(
            f"sampling.solver is {sampling.solver!r}, allowed for the expert.objective {objective!r} are "
            f"{', '.join(SOLVERS_OF[objective])}: choose one."
        )


def read_sampling(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A model's JSON table with `sampling` as a SamplingConfig; `where` names the file in errors.

    Checkpoints had nothing but `sampling_noise` at first, and they still load. Raises UserError naming the
    key.
    """
    table = dict(table_of(values, where))
    noise_scale = table.pop("sampling_noise", None)
    if "sampling" in table:
        if noise_scale is not None:
            raise UserError(f"{where}: sampling_noise and sampling are both given: remove sampling_noise.")
        given = take_fields(SamplingConfig, table["sampling"], f"{where}: sampling")
    else:
        given = {} if noise_scale is None else {"noise_scale": noise_scale}
    table["sampling"] = SamplingConfig(**given)
    return table
