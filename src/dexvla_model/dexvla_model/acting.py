"""The acting half of every policy with a diffusion expert: from a condition and the robot's state to a chunk.

Where the condition comes from (a vision-language model, an image encoder) is the other half's business.
"""

import numpy as np
import torch

from dexvla_model.expert import ActionExpert, Sampler, SamplingConfig
from dexvla_model.expert.inference import prepare_for_inference
from dexvla_model.normalization import Statistics
from dexvla_model.observation import InvalidObservation, RobotState
from dexvla_model.policy import ActionChunk, InvalidOutput, SubStep
from dexvla_model.robot.description import RobotDescription


class ExpertActor:
    """Draws action chunks for one robot. Not thread-safe.

    Args:
        expert: on the device and in the type in which it shall compute, with a head for the robot's
            embodiment.
        statistics: of the robot's embodiment.
        sampling: how chunks are drawn.
        compile_network: compile the network with torch.compile, which takes about a minute at the first
            chunk and needs a C++ compiler.
        name: of the policy, in errors.
        pack_weights: bring the weights, at the first chunk, into the order in which a CPU multiplies them
            fastest; the expert can be neither trained nor saved from then on. Not together with compiling.
    """

    def __init__(
        self,
        expert: ActionExpert,
        statistics: Statistics,
        robot: RobotDescription,
        sampling: SamplingConfig,
        name: str,
        compile_network: bool = False,
        pack_weights: bool = False,
    ) -> None:
        self.name = name
        self.robot = robot
        self.expert = expert
        self._must_pack = pack_weights and not compile_network
        self.statistics = statistics
        self._sampler = Sampler(expert, sampling, compile_network)
        self._head = expert.head(robot.embodiment).config
        weight = next(expert.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self._generator = torch.Generator(self._device)

    def get_ready(self) -> None:
        """Pack the weights, if that is wanted; otherwise the first chunk does."""
        if self._must_pack:
            prepare_for_inference(self.expert, self.robot.embodiment)
            self._must_pack = False

    def reset(self, seed: int) -> None:
        """Later draws depend on `seed` alone."""
        self._generator.manual_seed(seed)

    @torch.no_grad()
    def act(
        self,
        substep: SubStep,
        state: RobotState,
        prefix: np.ndarray | None = None,
        scheduled: np.ndarray | None = None,
    ) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`.

        Rows of `prefix` (P, A), in rad, are returned as they are; rows of `scheduled` (R, A), in rad, are
        what was planned behind them (see `SamplingConfig.continuity`).

        Raises:
            InvalidObservation: the state has not the robot's length, or a joint's value is not finite.
            InvalidOutput: the condition does not fit the model, or it or the chunk is not finite.
        """
        self.get_ready()
        self._check_condition(substep.condition)
        position = torch.from_numpy(checked_positions(state, self.robot)).unsqueeze(0)
        horizon = self._head.horizon
        size = self._head.action_size
        committed = known_rows(prefix, horizon, size, "prefix")
        wanted = known_rows(scheduled, horizon - len(committed), size, "scheduled")
        condition = torch.tensor(substep.condition, device=self._device, dtype=self._dtype).unsqueeze(0)
        chunk = self._sampler.sample(
            condition,
            self.statistics.normalise_state(position).to(self._device, self._dtype),
            self.robot.embodiment,
            noise=self._sampler.draw(1, self.robot.embodiment, self._device, self._generator),
            prefix=self._normalised(committed, position),
            scheduled=self._normalised(wanted, position),
        )
        positions = self.statistics.denormalise_actions(chunk.double().cpu(), position)[0].numpy()
        # Exactly, not but for the rounding of the normalisation.
        positions[: len(committed)] = committed
        if not np.isfinite(positions).all():
            raise InvalidOutput(
                f"the action chunk of policy {self.name} is not finite; the first that is not: "
                f"{self._first_not_finite(chunk)}"
            )
        return ActionChunk(
            state.stamp_s, 1.0 / self.robot.rates.action_hz, self.robot.action_joints, positions
        )

    def _check_condition(self, condition: np.ndarray) -> None:
        width = self.expert.config.condition_width
        if condition.shape != (width,):
            raise InvalidOutput(f"the condition has shape {condition.shape}, the expert needs ({width},)")
        finite = np.isfinite(condition)
        if not finite.all():
            place = int(np.argmin(finite))
            raise InvalidOutput(f"the condition is not finite: its value {place} of {width} is {condition[place]}")

    def _first_not_finite(self, chunk: torch.Tensor) -> str:
        """Where numbers went wrong, for people."""
        for name, weight in self.expert.named_parameters():
            if not torch.isfinite(weight).all():
                return f"the weight expert.{name}"
        return "the expert's chunk" if not torch.isfinite(chunk).all() else "the statistics of the actions"

    def _normalised(self, rows: np.ndarray, position: torch.Tensor) -> torch.Tensor:
        """Rows (K, A) in rad as a batch (1, K, A), normalised relative to the measured position (1, S)."""
        normalised = self.statistics.normalise_actions(torch.from_numpy(rows).unsqueeze(0), position)
        return normalised.to(self._device, torch.float32)


def checked_positions(state: RobotState, robot: RobotDescription) -> np.ndarray:
    """The measured positions (S,) in rad.

    Raises:
        InvalidObservation: they have not the robot's length, or a joint's value is not finite.
    """
    positions = np.array(state.positions, dtype=np.float64)
    if positions.shape != (len(robot.state),):
        raise InvalidObservation(f"the state has {positions.size} values, needed are {len(robot.state)}")
    finite = np.isfinite(positions)
    if not finite.all():
        place = int(np.argmin(finite))
        raise InvalidObservation(
            f"the joint {robot.state_joints[place]} of the state has the value {positions[place]}"
        )
    return positions


def known_rows(rows: np.ndarray | None, most: int, size: int, name: str) -> np.ndarray:
    """The first `most` rows (K, size) in rad of what a policy is told, none where `rows` is None.

    Raises:
        InvalidOutput: they are of another size, or not finite; `name` says which rows.
    """
    if rows is None:
        return np.empty((0, size))
    rows = np.asarray(rows, dtype=np.float64)[:most]
    if rows.ndim != 2 or rows.shape[1] != size or not np.isfinite(rows).all():
        raise InvalidOutput(f"the {name} of shape {rows.shape} is not finite rows of {size} actions")
    return rows
