"""Table bussing: what stands on the table goes away, tableware to the tray and rubbish to the bin."""

from functools import partial
from typing import Any

import numpy as np

from dexvla_sim.engine import mujoco
from dexvla_sim.tasks.containers import Container
from dexvla_sim.tasks.tableware import GRIP_HEIGHT_M, KINDS, Kind

# No object is named: what there is to do has to be seen. The first one is the canonical wording.
PHRASINGS = (
    "clear the table",
    "clean up the table",
    "tidy up the table",
    "bus the table",
    "put everything on the table where it belongs",
)

OBJECTS = (2, 3, 4)
# So many things fit side by side into a container.
MOST_IN_A_PLACE = 2
TRAY = Container("tray", (0.44, 0.29), (0.085, 0.075), (0.27, 0.25, 0.26, 1.0))
BIN = Container("bin", (0.44, -0.20), (0.085, 0.065), (0.60, 0.32, 0.10, 1.0))
PLACES = {container.name: container for container in (TRAY, BIN)}
PLACE_JITTER_M = 0.015

# Where the objects' centres lie, in base_link.
OBJECT_REGION_X_M = (0.40, 0.61)
OBJECT_REGION_Y_M = (-0.045, 0.125)
# Centre to centre: an open finger beside one object clears the next one.
OBJECT_SPACING_M = 0.11
# The nearest object is taken first, so no two are equally far along x.
RANK_SPACING_X_M = 0.03
# The demonstrator closes the fingers along base_link's y whatever the yaw: the pads turn an object straight.
OBJECT_YAW_RAD = 0.35

# Below these an object counts as at rest.
REST_SPEED_M_S = 0.02
REST_TURN_RAD_S = 0.3
# Kinds that an episode does without lie on the floor inside the table's leg, where no camera sees them.
_STORE_M = (0.30, -0.25, -0.75 + GRIP_HEIGHT_M)
_STORE_STEP_M = 0.10
# Four objects find room in one of some hundred trials.
_TRIALS = 256


class TableBussing:
    """Two to four things of different kinds, at least one for the tray and one for the bin.

    Args:
        objects: how many stand on the table.
    """

    name = "table_bussing"
    object_names = (*(kind.name for kind in KINDS), *PLACES)

    def __init__(self, objects: int = 2) -> None:
        self.name = task_name(objects)
        self.instruction = ""
        ranks, stages = range(1, objects + 1), ("grasped", "placed")
        self.milestones = tuple(f"object {rank} {stage}" for rank in ranks for stage in stages)
        self.time_limit_s = 5.0 + 20.0 * objects
        self.kinds: tuple[Kind, ...] = ()
        self._objects = objects

    def build(self, spec: mujoco.MjSpec) -> None:
        for container in PLACES.values():
            container.build(spec)
        for kind in KINDS:
            kind.build(spec)

    def randomise(self, model: mujoco.MjModel, data: mujoco.MjData, generator: np.random.Generator) -> None:
        self.kinds = _draw_kinds(generator, self._objects)
        self.instruction = PHRASINGS[int(generator.integers(len(PHRASINGS)))]
        for container in PLACES.values():
            container.place(model, data, generator.uniform(-PLACE_JITTER_M, PLACE_JITTER_M, 2))
        for index, kind in enumerate(KINDS):
            x, y, z = _STORE_M
            _put(data, kind, (x, y + _STORE_STEP_M * index, z), 0.0)
        for kind, place in zip(self.kinds, _draw_places(generator, self._objects)):
            _put(data, kind, (*place, GRIP_HEIGHT_M), generator.uniform(-OBJECT_YAW_RAD, OBJECT_YAW_RAD))

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Everything rests where it belongs, and the robot touches nothing of it."""
        if not all(_in_place(data, kind) and _at_rest(data, kind) for kind in self.kinds):
            return False
        touching = _touching_links(model, data)
        return not any(touching.get(model.body(kind.name).id) for kind in self.kinds)

    def reached(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[bool, ...]:
        """Of every object, the nearest at the start first: held by both fingers, and let go in its place."""
        touching = _touching_links(model, data)
        reached: list[bool] = []
        for kind in self.kinds:
            links = len(touching.get(model.body(kind.name).id, ()))
            reached += [links >= 2, not links and _in_place(data, kind)]
        return tuple(reached)

    def ground_truth(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Any]:
        """Poses of objects and containers in base_link (m; quaternions x, y, z, w), and the verdict.

        `held` says whether two links of the robot (both fingers) touch the object, `in_place` whether it is
        in the container where it belongs; `target` is what belongs elsewhere and is nearest along x.
        """
        touching = _touching_links(model, data)
        objects = []
        for kind in self.kinds:
            body = data.body(kind.name)
            w, x, y, z = body.xquat
            objects.append(
                {
                    "name": kind.name,
                    "colour": kind.colour,
                    "place": kind.place,
                    "position": body.xpos.tolist(),
                    "quaternion": [float(x), float(y), float(z), float(w)],
                    "half_size": kind.half_width_m,
                    "held": len(touching.get(model.body(kind.name).id, ())) >= 2,
                    "in_place": _in_place(data, kind),
                }
            )
        containers = {
            name: {"position": data.body(name).xpos.tolist(), "half_extents": list(container.half_extents_m)}
            for name, container in PLACES.items()
        }
        left = [entry for entry in objects if not entry["in_place"]] or objects
        return {
            "task": self.name,
            "instruction": self.instruction,
            "target": min(left, key=lambda entry: entry["position"][0])["name"],
            "objects": objects,
            **containers,
            "success": self.success(model, data),
        }

    def object_geoms(self, model: mujoco.MjModel) -> dict[str, list[int]]:
        """Geoms of this episode's objects and of both containers."""
        geoms = {name: container.geoms(model) for name, container in PLACES.items()}
        for kind in self.kinds:
            body = model.body(kind.name)
            geoms[kind.name] = list(range(int(body.geomadr[0]), int(body.geomadr[0] + body.geomnum[0])))
        return geoms


def task_name(objects: int) -> str:
    """The task's name on the command line for so many objects: two have no number."""
    return TableBussing.name if objects == OBJECTS[0] else f"{TableBussing.name}_{objects}"


# What the task is called with so many objects, and how it is made.
TABLE_BUSSING = {task_name(objects): partial(TableBussing, objects) for objects in OBJECTS}


def _put(data: mujoco.MjData, kind: Kind, position: tuple[float, float, float], yaw: float) -> None:
    joint = data.joint(f"{kind.name}_joint")
    joint.qpos[:3] = position
    joint.qpos[3:] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))


def _in_place(data: mujoco.MjData, kind: Kind) -> bool:
    return PLACES[kind.place].is_inside(data, data.body(kind.name).xpos, GRIP_HEIGHT_M)


def _at_rest(data: mujoco.MjData, kind: Kind) -> bool:
    velocity = data.joint(f"{kind.name}_joint").qvel
    speed_m_s, turn_rad_s = np.linalg.norm(velocity[:3]), np.linalg.norm(velocity[3:])
    return bool(speed_m_s < REST_SPEED_M_S and turn_rad_s < REST_TURN_RAD_S)


def _touching_links(model: mujoco.MjModel, data: mujoco.MjData) -> dict[int, set[int]]:
    """The robot's links (their body ids) that touch something, by what they touch (its body's id)."""
    touching: dict[int, set[int]] = {}
    for one, other in model.geom_bodyid[data.contact.geom[: data.ncon]].tolist():
        for body, link in ((one, other), (other, one)):
            # Of all bodies, the robot's alone do without gravity (see `world`).
            if model.body_gravcomp[link] > 0.0:
                touching.setdefault(body, set()).add(link)
    return touching


def _draw_kinds(generator: np.random.Generator, objects: int) -> tuple[Kind, ...]:
    """Different kinds, at least one and at most `MOST_IN_A_PLACE` for every place."""
    while True:
        kinds = [KINDS[index] for index in generator.permutation(len(KINDS))[:objects]]
        counts = [sum(kind.place == place for kind in kinds) for place in PLACES]
        if min(counts) >= 1 and max(counts) <= MOST_IN_A_PLACE:
            return tuple(kinds)


def _draw_places(generator: np.random.Generator, objects: int) -> np.ndarray:
    """(objects, 2) places that keep their distance from each other, the nearest to the robot first."""
    lower, upper = np.transpose([OBJECT_REGION_X_M, OBJECT_REGION_Y_M])
    pairs = np.triu_indices(objects, 1)
    while True:
        trials = generator.uniform(lower, upper, (_TRIALS, objects, 2))
        trials = np.take_along_axis(trials, np.argsort(trials[..., :1], axis=1), axis=1)
        distances = np.linalg.norm(trials[:, :, None] - trials[:, None], axis=-1)[:, *pairs]
        apart = distances.min(axis=1) >= OBJECT_SPACING_M
        ranked = np.diff(trials[..., 0], axis=1).min(axis=1) >= RANK_SPACING_X_M
        if (apart & ranked).any():
            return trials[np.argmax(apart & ranked)]
