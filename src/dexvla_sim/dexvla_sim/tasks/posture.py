"""Posture: an empty table; every joint is to go to where the episode's posture has it.

For robots without another task.
"""

from typing import Any

import numpy as np

from dexvla_sim.engine import mujoco

# How far from home a posture is, at most, and which share of the way to a joint's limits, at most.
REACH_RAD = 0.5
REACH_M = 0.02
REACH_SHARE = 0.6
# No part of the robot that is above this height at home comes below it.
CLEARANCE_M = 0.05
# Drawn so often before the posture is drawn nearer to home.
DRAWS = 8

# A joint counts as arrived within these, and as at rest below these.
ARRIVED = {"rad": 0.02, "m": 0.001}
AT_REST = {"rad": 0.05, "m": 0.005}

INSTRUCTION = "take the posture"


class Posture:
    """No objects. Its ground truth names the joints' goals, so that a scripted policy can reach them."""

    name = "posture"
    object_names: tuple[str, ...] = ()
    milestones = ("arrived",)
    time_limit_s = 30.0

    def __init__(self) -> None:
        self.instruction = INSTRUCTION
        self.goals: dict[str, float] = {}

    def build(self, spec: mujoco.MjSpec) -> None:
        """The table stays empty."""

    def randomise(self, model: mujoco.MjModel, data: mujoco.MjData, generator: np.random.Generator) -> None:
        trial = mujoco.MjData(model)
        trial.qpos[:] = data.qpos
        mujoco.mj_kinematics(model, trial)
        high = _lowest_points(model, trial) > CLEARANCE_M
        nearness = 1.0
        while True:
            for _ in range(DRAWS):
                self.goals = _draw(model, data, generator, nearness)
                for joint, position in self.goals.items():
                    trial.qpos[model.joint(joint).qposadr] = position
                mujoco.mj_kinematics(model, trial)
                if (_lowest_points(model, trial)[high] > CLEARANCE_M).all():
                    return
            nearness *= 0.5

    def success(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Every joint is at its goal and at rest."""
        return self._arrived(model, data) and all(
            abs(float(data.joint(joint).qvel[0])) < AT_REST[_unit(model, joint)] for joint in self.goals
        )

    def reached(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[bool, ...]:
        """Every joint is at its goal, at rest or not."""
        return (self._arrived(model, data),)

    def _arrived(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        return all(
            abs(float(data.joint(joint).qpos[0]) - goal) < ARRIVED[_unit(model, joint)]
            for joint, goal in self.goals.items()
        )

    def ground_truth(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Any]:
        """The joints' goals in rad or m, and the verdict."""
        return {
            "task": self.name,
            "instruction": self.instruction,
            "target": "posture",
            "goals": dict(self.goals),
            "success": self.success(model, data),
        }

    def object_geoms(self, model: mujoco.MjModel) -> dict[str, list[int]]:
        """None."""
        return {}


def _unit(model: mujoco.MjModel, joint: str) -> str:
    return "m" if model.joint(joint).type[0] == mujoco.mjtJoint.mjJNT_SLIDE else "rad"


def _draw(
    model: mujoco.MjModel, data: mujoco.MjData, generator: np.random.Generator, nearness: float
) -> dict[str, float]:
    """A goal for every joint that an actuator drives, around where it is now."""
    goals = {}
    for index in range(model.nu):
        joint = model.joint(int(model.actuator_trnid[index, 0]))
        here = float(data.qpos[joint.qposadr[0]])
        reach = REACH_M if _unit(model, joint.name) == "m" else REACH_RAD
        lower, upper = joint.range if model.jnt_limited[joint.id] else (-np.inf, np.inf)
        down = min(reach, REACH_SHARE * (here - lower))
        up = min(reach, REACH_SHARE * (upper - here))
        goals[joint.name] = here + nearness * float(generator.uniform(-max(down, 0.0), max(up, 0.0)))
    return goals


def _lowest_points(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """(G,) height in m that no part of a geom of the robot is below; the rest of the world counts as high."""
    robot = model.body_gravcomp[model.geom_bodyid] > 0.0
    return np.where(robot, data.geom_xpos[:, 2] - model.geom_rbound, np.inf)
