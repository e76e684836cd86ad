"""A scripted demonstrator of table bussing: one object after another, each moved as in pick and place.

It keeps no clock and no memory either. Which object is due follows from where things are: what the fingers
hold or have just let go, else what lies elsewhere than it belongs and is nearest to the robot along x.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dexvla_sim.demonstrators.gripper_arm import Tool
from dexvla_sim.demonstrators.pick_place import (
    CLEAR_HEIGHT_M,
    OPEN,
    RELEASE_HEIGHT_M,
    RELEASED,
    PickPlaceDemonstrator,
    PickPlacePhase,
    PickPlaceScene,
)
from dexvla_sim.demonstrators.places import lateral_distance
from dexvla_sim.tasks.table_bussing import PLACES
from dexvla_sim.tasks.tableware import KINDS

# Where in a container things are let go, from its middle: side by side along x, the first of them first.
SLOTS_M = np.array([[-0.04, 0.0, 0.0], [0.04, 0.0, 0.0]])
# So near beside the tool, an object is the one that the fingers are about to let go or have let go.
BETWEEN_FINGERS_M = 0.05

_NAMES = tuple(kind.name for kind in KINDS)
_PLACES = tuple(PLACES)


@dataclass(frozen=True)
class BussingScene(PickPlaceScene):
    """All objects and containers; what `PickPlaceScene` says is about the object that is due and its slot.

    Attributes:
        kind: index into `KINDS` of the object that is due.
        positions: (K, 3) of the objects, in m in base_link.
        present, in_place: (K,) which objects are there, and which of them are where they belong.
        places: (P, 3) of the containers, on their undersides.
    """

    kind: int
    positions: np.ndarray
    present: np.ndarray
    in_place: np.ndarray
    places: np.ndarray

    @property
    def name(self) -> str:
        return KINDS[self.kind].name

    @property
    def place(self) -> str:
        return KINDS[self.kind].place

    def to_vector(self) -> np.ndarray:
        """(6 + 5 K - 3 + 3 P,) float32, for a sub-step's condition."""
        flags = [self.kind, self.held, self.success]
        parts = [flags, self.present, self.in_place, self.positions.ravel(), self.places.ravel()]
        return np.concatenate(parts).astype(np.float32)

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> "BussingScene":
        values = np.asarray(vector, dtype=np.float64)
        count = len(KINDS)
        present, in_place, positions, places = np.split(values[3:], np.cumsum([count, count, 3 * count]))
        return cls.due(
            kind=round(values[0]),
            held=bool(values[1] > 0.5),
            success=bool(values[2] > 0.5),
            positions=positions.reshape(-1, 3),
            present=present > 0.5,
            in_place=in_place > 0.5,
            places=places.reshape(-1, 3),
        )

    @classmethod
    def due(
        cls,
        kind: int,
        held: bool,
        success: bool,
        positions: np.ndarray,
        present: np.ndarray,
        in_place: np.ndarray,
        places: np.ndarray,
    ) -> "BussingScene":
        """The scene with the object `kind` as the one that is due."""
        placed = bool(in_place[kind]) and not held
        slots = places[_PLACES.index(KINDS[kind].place)] + SLOTS_M
        if placed:
            slot = np.argmin([lateral_distance(positions[kind], slot) for slot in slots])
        else:
            same = [index for index in np.flatnonzero(in_place) if KINDS[index].place == KINDS[kind].place]
            taken = [positions[index] for index in same if index != kind]
            room = [min((lateral_distance(other, slot) for other in taken), default=np.inf) for slot in slots]
            slot = np.argmax(room)
        return cls(
            target=positions[kind],
            tray=slots[slot],
            half_size=KINDS[kind].half_width_m,
            held=held,
            placed=placed,
            success=success,
            kind=kind,
            positions=positions,
            present=present,
            in_place=in_place,
            places=places,
        )

    def left(self) -> np.ndarray:
        """Indices of the objects that are not where they belong, the nearest to the robot first."""
        left = np.flatnonzero(self.present & ~self.in_place)
        return left[np.argsort(self.positions[left, 0])]

    def with_due(self, kind: int, held: bool) -> "BussingScene":
        """The same scene when another object is due."""
        return self.due(kind, held, self.success, self.positions, self.present, self.in_place, self.places)


class TableBussingDemonstrator(PickPlaceDemonstrator):
    """Decides the sub-step and computes the chunk for any state; arguments and errors are its base's."""

    def scene(self, ground_truth: Mapping[str, Any]) -> BussingScene:
        """The scene; `joints` in the ground truth tell what the fingers are at."""
        positions, held = np.zeros((len(KINDS), 3)), np.zeros(len(KINDS), dtype=bool)
        present, in_place = held.copy(), held.copy()
        for entry in ground_truth["objects"]:
            index = _NAMES.index(entry["name"])
            positions[index] = entry["position"]
            present[index], held[index], in_place[index] = True, entry["held"], entry["in_place"]
        places = np.array([ground_truth[name]["position"] for name in _PLACES])
        success = bool(ground_truth["success"])
        joints = ground_truth["joints"]
        tool = self._arm.tool(np.array([joints[joint] for joint in self._robot.action_joints]))
        kind = int(np.flatnonzero(present)[0])
        scene = BussingScene.due(kind, False, success, positions, present, in_place & ~held, places)
        distances = [lateral_distance(position, tool.position) for position in positions]
        near = [int(index) for index in np.argsort(distances) if present[index]]
        for index in near:
            if held[index]:
                return scene.with_due(index, held=True)
        for index in near:
            candidate = scene.with_due(index, held=False)
            if self._is_letting_go(candidate, tool):
                return candidate
        left = scene.left()
        return scene.with_due(int(left[0]) if len(left) else near[0], held=False)

    def scene_of(self, vector: np.ndarray) -> BussingScene:
        """The scene whose `to_vector` this is."""
        return BussingScene.from_vector(vector)

    def text(self, phase: PickPlacePhase, scene: BussingScene, name: str) -> str:
        """The sub-step in words, about the object that is due: `name` is the one that was nearest."""
        return super().text(phase, scene, scene.name)

    def _next(self, scene: BussingScene, tool: Tool) -> BussingScene:
        """The scene with the next object due, once this one is in its place and the fingers are off it."""
        if not scene.placed or self._is_letting_go(scene, tool):
            return scene
        positions, in_place = scene.positions.copy(), scene.in_place.copy()
        positions[scene.kind], in_place[scene.kind] = scene.target, True
        after = replace(scene, positions=positions, in_place=in_place)
        left = after.left()
        return after.with_due(int(left[0]), held=False) if len(left) else scene

    def _is_letting_go(self, scene: BussingScene, tool: Tool) -> bool:
        """The fingers are still around the object that is due, over its place, and not open."""
        if lateral_distance(scene.target, tool.position) > BETWEEN_FINGERS_M:
            return False
        if scene.placed:
            return tool.position[2] < CLEAR_HEIGHT_M and tool.closed > RELEASED
        over_its_slot = lateral_distance(scene.target, scene.tray) < BETWEEN_FINGERS_M
        return over_its_slot and tool.position[2] < RELEASE_HEIGHT_M + 0.05 and tool.closed > OPEN
