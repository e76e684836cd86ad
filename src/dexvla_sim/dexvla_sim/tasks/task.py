"""What the simulation asks of a task."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from dexvla_sim.engine import mujoco


class Task(Protocol):
    """Puts its objects into the world, places them by a seed, words the instruction and judges the outcome.

    Attributes:
        name: as on the command line.
        instruction: of the current episode.
        object_names: everything that may stand in its world, in a fixed order.
        milestones: names of what has to be reached on the way, in order; success implies all of them.
        time_limit_s: what an episode may take where nobody says otherwise, in simulated s.
    """

    name: str
    instruction: str
    object_names: tuple[str, ...]
    milestones: tuple[str, ...]
    time_limit_s: float

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add the task's bodies to the world, before it is compiled."""

    def randomise(self, model: mujoco.MjModel, data: mujoco.MjData, generator: np.random.Generator) -> None:
        """Draw an episode: place the objects, choose the instruction; called after every reset of `data`."""

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Whether the instruction is carried out, from the physics alone."""

    def reached(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[bool, ...]:
        """Which of the milestones hold at this moment, from the physics alone.

        An episode's score is the share of them that held at some moment of it (partial credit by the stage
        reached, as in the evaluation of DexVLA, Wen et al. 2025). It is asked at every tick, so it has to be
        cheap.
        """

    def ground_truth(self, model: mujoco.MjModel, data: mujoco.MjData) -> Mapping[str, Any]:
        """What a scripted demonstrator needs to know; plain numbers, texts, lists and mappings (JSON)."""

    def object_geoms(self, model: mujoco.MjModel) -> Mapping[str, list[int]]:
        """Ids of the geoms of those objects that are there in the current episode, by their names."""
