"""Per-embodiment statistics, and the way between robot units and what the expert sees.

States are standardised by mean and standard deviation. Actions are scaled by their extremes to [-1, 1], where
the sampler clips. Action dimensions that the robot file calls `relative` are first expressed relative to the
state at the chunk's stamp. A dimension that never changed in the data carries nothing: it becomes 0, and
comes back as its value.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription

# Below this spread (rad) a dimension counts as constant: it is under the resolution of any joint encoder.
_CONSTANT = 1e-6


def relative_to_state(robot: RobotDescription) -> tuple[int, ...]:
    """For each action dimension the index of the state that it is relative to, or -1 where it is absolute.

    Raises:
        UserError: a relative action's joint is not in the state.
    """
    indices = []
    for entry in robot.action:
        if not entry.relative:
            indices.append(-1)
            continue
        if entry.joint not in robot.state_joints:
            raise UserError(
                f"{robot.path}: action {entry.joint} is relative, but that joint is not in the state: "
                "add it there or make the action absolute."
            )
        indices.append(robot.state_joints.index(entry.joint))
    return tuple(indices)


@dataclass(frozen=True)
class Statistics:
    """Statistics of one embodiment, and the conversions that they define.

    Attributes:
        state_mean, state_std: (S,).
        action_min, action_max: (A,), of rows after `relative_to_state` was applied.
        relative_to: for each action dimension the index of the state it is relative to, or -1.
    """

    state_mean: torch.Tensor
    state_std: torch.Tensor
    action_min: torch.Tensor
    action_max: torch.Tensor
    relative_to: tuple[int, ...]

    @classmethod
    def measure(
        cls,
        states: torch.Tensor,
        chunks: torch.Tensor,
        is_pad: torch.Tensor | None,
        relative_to: Sequence[int],
    ) -> "Statistics":
        """Statistics of states (N, S) and chunks (N, T, A) from there on, without padded rows (N, T)."""
        states, chunks = states.double(), chunks.double()
        rows = chunks - _reference(states, relative_to).unsqueeze(-2)
        rows = rows.flatten(0, 1) if is_pad is None else rows[~is_pad]
        if not (torch.isfinite(states).all() and torch.isfinite(rows).all()):
            raise UserError("the data holds a state or action that is not finite: remove that episode.")
        return cls(
            states.mean(dim=0),
            states.std(dim=0, unbiased=False),
            rows.amin(dim=0),
            rows.amax(dim=0),
            tuple(relative_to),
        )

    def normalise_state(self, state: torch.Tensor) -> torch.Tensor:
        """States (..., S) in robot units -> normalised."""
        std = self.state_std.to(state)
        inverse = torch.where(std > _CONSTANT, 1 / std, torch.zeros_like(std))
        return (state - self.state_mean.to(state)) * inverse

    def normalise_actions(self, actions: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Chunks (..., T, A) from states (..., S), both in robot units -> normalised, in [-1, 1]."""
        centre, half = self._centre_and_half(actions)
        inverse = torch.where(half > 0, 1 / half, torch.zeros_like(half))
        return (actions - _reference(state, self.relative_to).unsqueeze(-2).to(actions) - centre) * inverse

    def denormalise_actions(self, normalised: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """The inverse of `normalise_actions`, for the same state."""
        centre, half = self._centre_and_half(normalised)
        return normalised * half + centre + _reference(state, self.relative_to).unsqueeze(-2).to(normalised)

    def _centre_and_half(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        centre = (self.action_max + self.action_min) / 2
        half = (self.action_max - self.action_min) / 2
        half = torch.where(half > _CONSTANT, half, torch.zeros_like(half))
        return centre.to(like), half.to(like)

    def to_json(self) -> dict:
        """As plain lists, for a JSON file."""
        tensors = ("state_mean", "state_std", "action_min", "action_max")
        return {name: getattr(self, name).tolist() for name in tensors} | {
            "relative_to": list(self.relative_to)
        }

    @classmethod
    def from_json(cls, values: Mapping, where: str) -> "Statistics":
        """The inverse of `to_json`; `where` names the file and key in errors."""
        tensors = {}
        for name in ("state_mean", "state_std", "action_min", "action_max"):
            try:
                tensors[name] = torch.tensor(values[name], dtype=torch.float64)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"{where}.{name} is missing or not a list of numbers: restore the file."
                ) from error
            if tensors[name].dim() != 1 or not torch.isfinite(tensors[name]).all():
                raise UserError(f"{where}.{name} is not a list of finite numbers: restore the file.")
        relative_to = values.get("relative_to")
        sizes = len(tensors["state_mean"]), len(tensors["action_min"])
        if (len(tensors["state_std"]), len(tensors["action_max"])) != sizes:
            raise UserError(f"{where} holds lists of different lengths: restore the file.")
        if (
            not isinstance(relative_to, list)
            or len(relative_to) != sizes[1]
            or not all(isinstance(index, int) and -1 <= index < sizes[0] for index in relative_to)
        ):
            raise UserError(
                f"{where}.relative_to is {relative_to!r}, needed are {sizes[1]} state indices or -1."
            )
        return cls(**tensors, relative_to=tuple(relative_to))


def save_statistics(path: Path, statistics: Mapping[str, Statistics]) -> None:
    """Write the statistics of all embodiments as one JSON file."""
    content = {name: values.to_json() for name, values in statistics.items()}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_statistics(path: Path) -> dict[str, Statistics]:
    """Read what `save_statistics` wrote. Raises UserError naming the file and key."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore the checkpoint.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no table of embodiments: restore the checkpoint.")
    return {name: Statistics.from_json(values, f"{path}: {name}") for name, values in content.items()}


def _reference(states: torch.Tensor, relative_to: Sequence[int]) -> torch.Tensor:
    """What to subtract from action rows: states (..., S) -> (..., A), zero where an action is absolute."""
    index = torch.tensor(relative_to, device=states.device)
    picked = states.index_select(-1, index.clamp(min=0))
    return picked * (index >= 0).to(states.dtype)
