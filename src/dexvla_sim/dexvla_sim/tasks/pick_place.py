"""Pick and place: put the cube of the named colour in the tray, and leave the others where they are."""

from typing import Any

import numpy as np

from dexvla_sim.engine import mujoco
from dexvla_sim.tasks.containers import Container

COLOURS = {
    "red": (0.84, 0.10, 0.10),
    "green": (0.10, 0.62, 0.20),
    "blue": (0.10, 0.26, 0.84),
    "yellow": (0.96, 0.80, 0.08),
}
# The first one is the canonical wording.
PHRASINGS = (
    "put the {colour} cube in the tray",
    "place the {colour} cube into the tray",
    "move the {colour} cube to the tray",
    "pick up the {colour} cube and put it in the tray",
)

CUBES = 3
CUBE_HALF_SIZE_M = 0.02
CUBE_MASS_KG = 0.05
# Where the cubes' centres lie, in base_link.
CUBE_REGION_X_M = (0.36, 0.58)
CUBE_REGION_Y_M = (-0.22, 0.12)
# Centre to centre: an open finger beside one cube clears the next one.
CUBE_SPACING_M = 0.11
# The demonstrator closes the fingers along base_link's y whatever the yaw: the pads turn the cube straight.
CUBE_YAW_RAD = 0.35

TRAY = Container("tray", (0.44, 0.29), (0.085, 0.075), (0.27, 0.25, 0.26, 1.0))
TRAY_JITTER_M = 0.015
# A held cube counts as lifted from this height of its bottom on.
LIFTED_M = 0.03

# Below these an object counts as at rest.
REST_SPEED_M_S = 0.02
REST_TURN_RAD_S = 0.3


class PickPlace:
    """Three cubes of different colours, a tray, and one cube that is to go in."""

    name = "pick_place"
    object_names = (*(f"{colour} cube" for colour in COLOURS), "tray")
    milestones = ("grasped", "lifted", "over the tray", "placed")
    time_limit_s = 30.0

    def __init__(self) -> None:
        self.instruction = ""
        self.target = 0
        self.colours: tuple[str, ...] = ()

    def build(self, spec: mujoco.MjSpec) -> None:
        TRAY.build(spec)
        for index in range(CUBES):
            body = spec.worldbody.add_body(
                name=f"cube_{index}", pos=(0.4, 0.2 * (index - 1), CUBE_HALF_SIZE_M)
            )
            body.add_freejoint(name=f"cube_{index}_joint")
            body.add_geom(
                name=f"cube_{index}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[CUBE_HALF_SIZE_M] * 3,
                mass=CUBE_MASS_KG,
                condim=4,
                friction=[0.8, 0.01, 0.0001],
            )

    def randomise(self, model: mujoco.MjModel, data: mujoco.MjData, generator: np.random.Generator) -> None:
        colours = generator.permutation(list(COLOURS))[:CUBES]
        self.colours = tuple(str(colour) for colour in colours)
        self.target = int(generator.integers(CUBES))
        phrasing = PHRASINGS[int(generator.integers(len(PHRASINGS)))]
        self.instruction = phrasing.format(colour=self.colours[self.target])
        TRAY.place(model, data, generator.uniform(-TRAY_JITTER_M, TRAY_JITTER_M, 2))
        for index, place in enumerate(_draw_places(generator)):
            yaw = generator.uniform(-CUBE_YAW_RAD, CUBE_YAW_RAD)
            joint = data.joint(f"cube_{index}_joint")
            joint.qpos[:3] = (*place, CUBE_HALF_SIZE_M)
            joint.qpos[3:] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
            model.geom(f"cube_{index}").rgba[:3] = COLOURS[self.colours[index]]

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """The target rests in the tray, the robot does not touch it, and no other cube is in the tray."""
        for index in range(CUBES):
            if self._in_tray(data, index) != (index == self.target):
                return False
        return self._at_rest(data, self.target) and not self._touching_bodies(model, data, self.target)

    def reached(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[bool, ...]:
        """Of the target: held by both fingers; off the table; over the tray's floor; let go in it."""
        touching = len(self._touching_bodies(model, data, self.target))
        held = touching >= 2
        lifted = held and data.body(f"cube_{self.target}").xpos[2] > CUBE_HALF_SIZE_M + LIFTED_M
        placed = not touching and self._in_tray(data, self.target)
        above = TRAY.is_above(data, data.body(f"cube_{self.target}").xpos)
        return held, bool(lifted), bool(lifted) and above, placed

    def ground_truth(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Any]:
        """Poses of objects and tray in base_link (m; quaternions x, y, z, w), the target, the verdict.

        `held` says whether two links of the robot (both fingers) touch the object;
        `in_tray` whether its centre is over the tray's floor and below the rim.
        """
        objects = []
        for index, colour in enumerate(self.colours):
            body = data.body(f"cube_{index}")
            w, x, y, z = body.xquat
            objects.append(
                {
                    "name": f"{colour} cube",
                    "colour": colour,
                    "position": body.xpos.tolist(),
                    "quaternion": [float(x), float(y), float(z), float(w)],
                    "half_size": CUBE_HALF_SIZE_M,
                    "held": len(self._touching_bodies(model, data, index)) >= 2,
                    "in_tray": self._in_tray(data, index),
                }
            )
        return {
            "task": self.name,
            "instruction": self.instruction,
            "target": f"{self.colours[self.target]} cube",
            "objects": objects,
            "tray": {"position": data.body("tray").xpos.tolist(), "half_extents": list(TRAY.half_extents_m)},
            "success": self.success(model, data),
        }

    def object_geoms(self, model: mujoco.MjModel) -> dict[str, list[int]]:
        """Geoms of the three cubes and the tray."""
        geoms = {f"{colour} cube": [model.geom(f"cube_{index}").id] for index, colour in enumerate(self.colours)}
        return geoms | {TRAY.name: TRAY.geoms(model)}

    def _in_tray(self, data: mujoco.MjData, index: int) -> bool:
        return TRAY.is_inside(data, data.body(f"cube_{index}").xpos, CUBE_HALF_SIZE_M)

    def _at_rest(self, data: mujoco.MjData, index: int) -> bool:
        velocity = data.joint(f"cube_{index}_joint").qvel
        return bool(
            np.linalg.norm(velocity[:3]) < REST_SPEED_M_S and np.linalg.norm(velocity[3:]) < REST_TURN_RAD_S
        )

    def _touching_bodies(self, model: mujoco.MjModel, data: mujoco.MjData, index: int) -> set[int]:
        """Ids of the robot's links that touch the cube."""
        cube = model.geom(f"cube_{index}").id
        own = {model.body("tray").id, 0} | {model.body(f"cube_{other}").id for other in range(CUBES)}
        pairs = data.contact.geom[: data.ncon]
        touching = np.concatenate([pairs[pairs[:, 0] == cube, 1], pairs[pairs[:, 1] == cube, 0]])
        return {int(body) for body in model.geom_bodyid[touching]} - own


def _draw_places(generator: np.random.Generator) -> list[np.ndarray]:
    """Places (x, y) for all cubes that keep their distance from each other."""
    places: list[np.ndarray] = []
    while len(places) < CUBES:
        place = np.array([generator.uniform(*CUBE_REGION_X_M), generator.uniform(*CUBE_REGION_Y_M)])
        if all(np.linalg.norm(place - other) >= CUBE_SPACING_M for other in places):
            places.append(place)
    return places
