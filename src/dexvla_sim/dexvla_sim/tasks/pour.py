"""Pour: take the cup, tilt it over the bowl, and the balls that it holds lie in the bowl."""

import math
from typing import Any

import numpy as np

from dexvla_sim.engine import mujoco

# The first one is the canonical wording.
PHRASINGS = (
    "pour the balls into the bowl",
    "pour the cup into the bowl",
    "empty the cup into the bowl",
    "pick up the cup and pour the balls into the bowl",
)

BALLS = 6
BALL_RADIUS_M = 0.0085
BALL_MASS_KG = 0.006
# Of the balls, those that have to lie in the bowl: all but one.
ENOUGH_BALLS = 5

CUP_HEIGHT_M = 0.138
CUP_RADIUS_M = 0.030
CUP_WALL_M = 0.0035
# The cup has a thick foot, so that the balls lie where the camera sees them.
CUP_FOOT_M = 0.092
# It stands on a smooth plate a little wider than itself, so that it slides when it is pushed instead of tipping over.
CUP_PLATE_RADIUS_M = 0.036
CUP_PLATE_M = 0.004
CUP_PLATE_FRICTION = 0.2
CUP_MASSES_KG = (0.09, 0.03)
CUP_SIDES = 10
CUP_RGBA = (0.16, 0.36, 0.80, 1.0)
CUP_FOOT_RGBA = (0.10, 0.22, 0.52, 1.0)
BALL_RGBA = (0.96, 0.42, 0.06, 1.0)

BOWL_HEIGHT_M = 0.055
BOWL_OPENING_M = 0.085
BOWL_FLOOR_M = 0.050
BOWL_WALL_M = 0.006
BOWL_SIDES = 8
BOWL_RGBA = (0.93, 0.93, 0.90, 1.0)

# Where they stand, in base_link.
CUP_REGION_X_M = (0.50, 0.59)
CUP_REGION_Y_M = (-0.20, -0.05)
BOWL_REGION_X_M = (0.48, 0.57)
BOWL_REGION_Y_M = (0.15, 0.24)

# A finger presses the cup with this at least.
PRESSING_N = 1.0
LIFTED_M = 0.03
# How far beside the bowl's middle the cup is over it.
OVER_BOWL_M = 0.12
# Beyond this the cup has fallen over, unless it is in the hand.
UPRIGHT_RAD = 0.5
# Below this a ball counts as at rest.
REST_SPEED_M_S = 0.03

# Two families of shapes in the cup: outside it is one cylinder that the hand holds (1), inside walls that the balls
# touch (2), so that the fingers meet a round wall and the balls a hollow one.
_OUTSIDE, _INSIDE = 1, 2


class Pour:
    """A cup with balls in it and a bowl, both somewhere else in every episode."""

    name = "pour"
    object_names = ("cup", "balls", "bowl")
    milestones = ("grasped", "lifted", "over the bowl", "poured")
    time_limit_s = 30.0

    def __init__(self) -> None:
        self.instruction = PHRASINGS[0]

    def build(self, spec: mujoco.MjSpec) -> None:
        _add_bowl(spec)
        _add_cup(spec)
        for index in range(BALLS):
            ball = spec.worldbody.add_body(name=f"ball_{index}", pos=_ball_place(index, np.zeros(2), 0.0))
            ball.add_freejoint(name=f"ball_{index}_joint")
            ball.add_geom(
                name=f"ball_{index}",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[BALL_RADIUS_M, 0.0, 0.0],
                mass=BALL_MASS_KG,
                rgba=BALL_RGBA,
                contype=_OUTSIDE | _INSIDE,
                conaffinity=_INSIDE,
                # Like balls of rubber foam: they hardly bounce and do not roll for long.
                condim=6,
                priority=1,
                friction=[0.5, 0.002, 0.0006],
                solref=[0.012, 1.4],
            )

    def randomise(self, model: mujoco.MjModel, data: mujoco.MjData, generator: np.random.Generator) -> None:
        self.instruction = PHRASINGS[int(generator.integers(len(PHRASINGS)))]
        cup = np.array([generator.uniform(*CUP_REGION_X_M), generator.uniform(*CUP_REGION_Y_M)])
        bowl = np.array([generator.uniform(*BOWL_REGION_X_M), generator.uniform(*BOWL_REGION_Y_M)])
        yaw = float(generator.uniform(-math.pi, math.pi))
        data.mocap_pos[model.body("bowl").mocapid[0], :2] = bowl
        joint = data.joint("cup_joint")
        joint.qpos[:3] = (*cup, 0.0)
        joint.qpos[3:] = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
        for index in range(BALLS):
            data.joint(f"ball_{index}_joint").qpos[:3] = _ball_place(index, cup, yaw)

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Enough balls rest in the bowl, and the cup does not lie in it."""
        resting = [
            self._in_bowl(data, index)
            and np.linalg.norm(data.joint(f"ball_{index}_joint").qvel[:3]) < REST_SPEED_M_S
            for index in range(BALLS)
        ]
        return bool(sum(resting) >= ENOUGH_BALLS) and not self._touches_bowl(model, data)

    def reached(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[bool, ...]:
        """The hand holds the cup; holds it off the table; holds it over the bowl; enough balls are in the bowl."""
        held = self._held(model, data)
        place = data.body("cup").xpos
        lifted = held and bool(place[2] > LIFTED_M)
        over = lifted and math.dist(place[:2], data.body("bowl").xpos[:2]) < OVER_BOWL_M
        return held, lifted, over, sum(self._in_bowl(data, index) for index in range(BALLS)) >= ENOUGH_BALLS

    def ground_truth(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Any]:
        """Poses in base_link (m; quaternions x, y, z, w) and the verdict.

        The cup's position is the middle of its underside. `held`: thumb and another finger press it;
        `balls`: how many it contains. The bowl's position is the middle of its underside, too.
        """
        cup = data.body("cup")
        w, x, y, z = cup.xquat
        return {
            "task": self.name,
            "instruction": self.instruction,
            "target": "cup",
            "cup": {
                "position": cup.xpos.tolist(),
                "quaternion": [float(x), float(y), float(z), float(w)],
                "height": CUP_HEIGHT_M,
                "radius": CUP_RADIUS_M,
                "held": self._held(model, data),
                "balls": sum(self._in_cup(data, index) for index in range(BALLS)),
            },
            "bowl": {
                "position": data.body("bowl").xpos.tolist(),
                "height": BOWL_HEIGHT_M,
                "radius": BOWL_OPENING_M,
                "balls": sum(self._in_bowl(data, index) for index in range(BALLS)),
            },
            "balls": [data.body(f"ball_{index}").xpos.tolist() for index in range(BALLS)],
            "success": self.success(model, data),
        }

    def object_geoms(self, model: mujoco.MjModel) -> dict[str, list[int]]:
        """What is drawn of the cup, the balls together, and the bowl."""
        balls = [model.geom(f"ball_{index}").id for index in range(BALLS)]
        return {"cup": _geoms_of(model, "cup"), "balls": balls, "bowl": _geoms_of(model, "bowl")}

    def _in_bowl(self, data: mujoco.MjData, index: int) -> bool:
        offset = data.body(f"ball_{index}").xpos - data.body("bowl").xpos
        return bool(math.hypot(offset[0], offset[1]) < BOWL_OPENING_M and offset[2] < BOWL_HEIGHT_M)

    def _in_cup(self, data: mujoco.MjData, index: int) -> bool:
        cup = data.body("cup")
        x, y, z = cup.xmat.reshape(3, 3).T @ (data.body(f"ball_{index}").xpos - cup.xpos)
        return bool(math.hypot(x, y) < CUP_RADIUS_M and 0.0 < z < CUP_HEIGHT_M)

    def _held(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """The thumb and another finger press the cup's outside."""
        outside = model.geom("cup_outside").id
        pairs = data.contact.geom[: data.ncon]
        thumb = finger = 0.0
        force = np.zeros(6)
        for contact in np.flatnonzero((pairs == outside).any(axis=1)):
            other = int(pairs[contact, 0] if pairs[contact, 1] == outside else pairs[contact, 1])
            body = model.body(int(model.geom_bodyid[other]))
            if model.body_gravcomp[body.id] == 0.0:
                continue
            mujoco.mj_contactForce(model, data, int(contact), force)
            if "thumb" in body.name:
                thumb += force[0]
            elif model.body_dofnum[body.id]:
                finger += force[0]
        return bool(thumb > PRESSING_N and finger > PRESSING_N)

    def _touches_bowl(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        bodies = model.geom_bodyid[data.contact.geom[: data.ncon]]
        pair = {model.body("cup").id, model.body("bowl").id}
        return any({int(one), int(other)} == pair for one, other in bodies)


def _add_cup(spec: mujoco.MjSpec) -> None:
    cup = spec.worldbody.add_body(name="cup", pos=(0.5, -0.15, 0.0))
    cup.add_freejoint(name="cup_joint")
    cup.add_geom(
        name="cup_outside",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0.0, 0.0, (CUP_HEIGHT_M + CUP_PLATE_M) / 2),
        size=[CUP_RADIUS_M, (CUP_HEIGHT_M - CUP_PLATE_M) / 2, 0.0],
        mass=0.0,
        contype=_OUTSIDE,
        conaffinity=0,
        group=3,
        condim=4,
        friction=[1.2, 0.02, 0.0001],
    )
    cup.add_geom(
        name="cup_plate",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0.0, 0.0, CUP_PLATE_M / 2),
        size=[CUP_PLATE_RADIUS_M, CUP_PLATE_M / 2, 0.0],
        mass=0.0,
        rgba=CUP_FOOT_RGBA,
        contype=_OUTSIDE,
        conaffinity=0,
        priority=1,
        friction=[CUP_PLATE_FRICTION, 0.005, 0.0001],
    )
    inside = dict(contype=_INSIDE, conaffinity=_INSIDE)
    radius = CUP_RADIUS_M - CUP_WALL_M
    cup.add_geom(
        name="cup_foot",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0.0, 0.0, CUP_FOOT_M / 2),
        size=[CUP_RADIUS_M, CUP_FOOT_M / 2, 0.0],
        mass=CUP_MASSES_KG[0],
        rgba=CUP_FOOT_RGBA,
        **inside,
    )
    half_height = (CUP_HEIGHT_M - CUP_FOOT_M) / 2
    half_width = (CUP_RADIUS_M + 0.0005) * math.tan(math.pi / CUP_SIDES)
    for side in range(CUP_SIDES):
        angle = 2.0 * math.pi * side / CUP_SIDES
        middle = radius + CUP_WALL_M / 2
        cup.add_geom(
            name=f"cup_wall_{side}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(middle * math.cos(angle), middle * math.sin(angle), CUP_FOOT_M + half_height),
            quat=(math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)),
            size=(CUP_WALL_M / 2, half_width, half_height),
            mass=CUP_MASSES_KG[1] / CUP_SIDES,
            rgba=CUP_RGBA,
            **inside,
        )


def _add_bowl(spec: mujoco.MjSpec) -> None:
    bowl = spec.worldbody.add_body(name="bowl", pos=(0.5, 0.2, 0.0), mocap=True)
    bowl.add_geom(
        name="bowl_floor",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0.0, 0.0, BOWL_WALL_M / 2),
        size=[BOWL_FLOOR_M, BOWL_WALL_M / 2, 0.0],
        rgba=BOWL_RGBA,
    )
    slope = math.atan2(BOWL_OPENING_M - BOWL_FLOOR_M, BOWL_HEIGHT_M)
    half_length = math.hypot(BOWL_OPENING_M - BOWL_FLOOR_M, BOWL_HEIGHT_M) / 2
    middle = (BOWL_OPENING_M + BOWL_FLOOR_M) / 2
    for side in range(BOWL_SIDES):
        angle = 2.0 * math.pi * side / BOWL_SIDES
        # About z to its side, then about the wall's own y outwards.
        turn, lean = np.array([math.cos(angle / 2), 0, 0, math.sin(angle / 2)]), np.empty(4)
        mujoco.mju_mulQuat(lean, turn, np.array([math.cos(slope / 2), 0, math.sin(slope / 2), 0]))
        bowl.add_geom(
            name=f"bowl_wall_{side}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(middle * math.cos(angle), middle * math.sin(angle), BOWL_HEIGHT_M / 2),
            quat=lean,
            size=(BOWL_WALL_M / 2, BOWL_OPENING_M * math.tan(math.pi / BOWL_SIDES), half_length),
            rgba=BOWL_RGBA,
        )


def _ball_place(index: int, cup: np.ndarray, yaw: float) -> np.ndarray:
    """(3,) where a ball lies in a cup at (x, y): one in the middle, the others around it."""
    ring = 0.0 if index == 0 else CUP_RADIUS_M - CUP_WALL_M - 1.02 * BALL_RADIUS_M
    angle = yaw + 2.0 * math.pi * index / (BALLS - 1)
    height = CUP_FOOT_M + BALL_RADIUS_M
    return np.array([cup[0] + ring * math.cos(angle), cup[1] + ring * math.sin(angle), height])


def _geoms_of(model: mujoco.MjModel, body: str) -> list[int]:
    first = model.body(body).geomadr[0]
    return list(range(first, first + model.body(body).geomnum[0]))
