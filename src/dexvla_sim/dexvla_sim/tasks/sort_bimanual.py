"""Sort with two arms: one reaches the bar, only the other reaches the box of its colour."""

import math
from typing import Any

import numpy as np

from dexvla_sim.engine import mujoco
from dexvla_sim.tasks.pick_place import COLOURS, REST_SPEED_M_S, REST_TURN_RAD_S

SIDES = ("left", "right")
# The first one is the canonical wording.
PHRASINGS = (
    "sort the {colour} bar into the box of its colour",
    "put the {colour} bar in the {colour} box",
    "hand the {colour} bar over and put it in the {colour} box",
    "pick up the {colour} bar and pass it on into the box of its colour",
)

# Across, along and up: long enough for two grippers at once.
BAR_HALF_EXTENTS_M = (0.012, 0.070, 0.012)
BAR_MASS_KG = 0.06
# Where the bar's centre lies for the left arm, in base_link; for the right arm, mirrored at y = 0.
BAR_REGION_X_M = (0.25, 0.36)
BAR_REGION_Y_M = (0.24, 0.31)
BAR_YAW_RAD = 0.25

# Where the boxes stand when the left arm picks; mirrored at y = 0 for the other one.
BOX_CENTRES_M = ((0.24, -0.29), (0.37, -0.29))
BOX_JITTER_M = 0.015
BOX_HALF_EXTENTS_M = (0.055, 0.105)
BOX_WALL_HEIGHT_M = 0.030
BOX_WALL_THICKNESS_M = 0.005
BOX_FLOOR_THICKNESS_M = 0.004

# A held bar counts as lifted from this height of its middle on.
LIFTED_M = 0.05


class SortBimanual:
    """One bar, two boxes on the other side of the table, and a handover in between.

    Args:
        picking_sides: which arms may have to pick, one drawn per episode. By default always the left one.
    """

    name = "sort_bimanual"
    object_names = (*(f"{colour} bar" for colour in COLOURS), *(f"{colour} box" for colour in COLOURS))
    milestones = ("picked", "lifted", "handed over", "placed")
    time_limit_s = 40.0

    def __init__(self, picking_sides: tuple[str, ...] = ("left",)) -> None:
        self._picking_sides = picking_sides
        self.instruction = ""
        self.colour = ""
        self.box_colours: tuple[str, ...] = ()
        self.picking_side = picking_sides[0]

    def build(self, spec: mujoco.MjSpec) -> None:
        half_x, half_y = BOX_HALF_EXTENTS_M
        wall, floor, height = BOX_WALL_THICKNESS_M / 2, BOX_FLOOR_THICKNESS_M / 2, BOX_WALL_HEIGHT_M / 2
        parts = {
            "floor": ((0.0, 0.0, floor), (half_x, half_y, floor)),
            "wall_left": ((0.0, half_y - wall, height), (half_x, wall, height)),
            "wall_right": ((0.0, wall - half_y, height), (half_x, wall, height)),
            "wall_far": ((half_x - wall, 0.0, height), (wall, half_y, height)),
            "wall_near": ((wall - half_x, 0.0, height), (wall, half_y, height)),
        }
        for index, place in enumerate(BOX_CENTRES_M):
            box = spec.worldbody.add_body(name=f"box_{index}", pos=(*place, 0.0), mocap=True)
            for part, (position, size) in parts.items():
                box.add_geom(
                    name=f"box_{index}_{part}", type=mujoco.mjtGeom.mjGEOM_BOX, pos=position, size=size
                )
        bar = spec.worldbody.add_body(name="bar", pos=(0.3, 0.25, BAR_HALF_EXTENTS_M[2]))
        bar.add_freejoint(name="bar_joint")
        bar.add_geom(
            name="bar",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=list(BAR_HALF_EXTENTS_M),
            mass=BAR_MASS_KG,
            condim=4,
            friction=[0.8, 0.01, 0.0001],
        )

    def randomise(self, model: mujoco.MjModel, data: mujoco.MjData, generator: np.random.Generator) -> None:
        colours = [str(colour) for colour in generator.permutation(list(COLOURS))[: len(BOX_CENTRES_M)]]
        self.box_colours = tuple(colours)
        self.colour = colours[int(generator.integers(len(colours)))]
        self.instruction = PHRASINGS[int(generator.integers(len(PHRASINGS)))].format(colour=self.colour)
        self.picking_side = self._picking_sides[int(generator.integers(len(self._picking_sides)))]
        mirror = 1.0 if self.picking_side == "left" else -1.0
        jitter = generator.uniform(-BOX_JITTER_M, BOX_JITTER_M, 2)
        for index, (x, y) in enumerate(BOX_CENTRES_M):
            body = model.body(f"box_{index}")
            data.mocap_pos[body.mocapid[0], :2] = np.array([x, mirror * y]) + jitter
            rgb = 0.75 * np.array(COLOURS[colours[index]]) + 0.05
            model.geom_rgba[body.geomadr[0] : body.geomadr[0] + body.geomnum[0], :3] = rgb
        x, y = generator.uniform(*BAR_REGION_X_M), mirror * generator.uniform(*BAR_REGION_Y_M)
        yaw = generator.uniform(-BAR_YAW_RAD, BAR_YAW_RAD)
        joint = data.joint("bar_joint")
        joint.qpos[:3] = (x, y, BAR_HALF_EXTENTS_M[2])
        joint.qpos[3:] = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
        model.geom("bar").rgba[:3] = COLOURS[self.colour]

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """The bar rests in the box of its colour and the robot does not touch it.

        The arm that picks does not reach that box, so the other one has placed it.
        """
        velocity = data.joint("bar_joint").qvel
        return bool(
            np.linalg.norm(velocity[:3]) < REST_SPEED_M_S and np.linalg.norm(velocity[3:]) < REST_TURN_RAD_S
        ) and self._placed(model, data)

    def reached(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[bool, ...]:
        """Of the bar: held by a gripper, off the table, held by the box's side alone, let go in its box."""
        held = self._held(model, data)
        lifted = any(held.values()) and bool(data.body("bar").xpos[2] > LIFTED_M)
        taken = lifted and not held[self.picking_side]
        return any(held.values()), lifted, taken, self._placed(model, data)

    def ground_truth(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Any]:
        """Poses of the bar and the boxes in base_link (m; quaternions x, y, z, w), who holds it, the verdict.

        `held` says of each side whether both of its fingers touch the bar; `placed` whether the bar lies in
        the box of its colour and the robot does not touch it.
        """
        objects = [self._entry(data, "bar", f"{self.colour} bar", list(BAR_HALF_EXTENTS_M))]
        extents = [*BOX_HALF_EXTENTS_M, BOX_FLOOR_THICKNESS_M / 2]
        for index, colour in enumerate(self.box_colours):
            objects.append(self._entry(data, f"box_{index}", f"{colour} box", extents))
        return {
            "task": self.name,
            "instruction": self.instruction,
            "target": f"{self.colour} bar",
            "box": f"{self.colour} box",
            "objects": objects,
            "held": self._held(model, data),
            "placed": self._placed(model, data),
            "success": self.success(model, data),
        }

    def object_geoms(self, model: mujoco.MjModel) -> dict[str, list[int]]:
        """Geoms of the bar and of the two boxes."""
        geoms = {f"{self.colour} bar": [model.geom("bar").id]}
        for index, colour in enumerate(self.box_colours):
            body = model.body(f"box_{index}")
            geoms[f"{colour} box"] = list(range(body.geomadr[0], body.geomadr[0] + body.geomnum[0]))
        return geoms

    @staticmethod
    def _entry(data: mujoco.MjData, body: str, name: str, half_size: list[float]) -> dict[str, Any]:
        w, x, y, z = (float(value) for value in data.body(body).xquat)
        position = data.body(body).xpos.tolist()
        colour = name.split()[0]
        return {
            "name": name,
            "colour": colour,
            "position": position,
            "quaternion": [x, y, z, w],
            "half_size": half_size,
        }

    def _placed(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Both ends are within the walls, the middle below the rim, and no link of the robot touches it."""
        bar, box = data.body("bar"), data.body(f"box_{self.box_colours.index(self.colour)}")
        offset = bar.xpos - box.xpos
        end = BAR_HALF_EXTENTS_M[1] * np.abs(bar.xmat.reshape(3, 3)[:2, 1])
        inside = np.abs(offset[:2]) + end < np.array(BOX_HALF_EXTENTS_M) - BOX_WALL_THICKNESS_M
        if not inside.all() or offset[2] > BOX_WALL_HEIGHT_M:
            return False
        return not self._touching_links(model, data)

    def _held(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, bool]:
        """Of each side, whether both of its fingers touch the bar."""
        touching = self._touching_links(model, data)
        names = [model.body(link).name for link in touching]
        return {side: sum(name.startswith(f"{side}_") for name in names) >= 2 for side in SIDES}

    def _touching_links(self, model: mujoco.MjModel, data: mujoco.MjData) -> set[int]:
        """Ids of the robot's links that touch the bar."""
        bar = model.geom("bar").id
        pairs = data.contact.geom[: data.ncon]
        touching = np.concatenate([pairs[pairs[:, 0] == bar, 1], pairs[pairs[:, 1] == bar, 0]])
        bodies = model.geom_bodyid[touching]
        return {int(body) for body in bodies[model.body_gravcomp[bodies] > 0.0]}
