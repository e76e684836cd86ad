"""A robot, its controllers, its cameras and a task in MuJoCo: where hardware stands otherwise. No ROS."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexvla_model.observation import Observation, RobotState, build_observation, build_state
from dexvla_model.robot import RobotDescription
from dexvla_model.robot.description import token_side
from dexvla_model.streaming import JointTrajectory
from dexvla_sim.appearance import BRIGHTNESS, Appearance
from dexvla_sim.controller import Acceptance, JointTrajectoryController
from dexvla_sim.engine import mujoco
from dexvla_sim.rendering import CameraRenderer
from dexvla_sim.tasks import Task, load_task
from dexvla_sim.world import build_world, home_qpos, set_joints, steps_per_update

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JointStates:
    """What a joint_state_broadcaster publishes: (J,) rad, rad/s and N m, by name."""

    stamp_s: float
    names: tuple[str, ...]
    positions: np.ndarray
    velocities: np.ndarray
    efforts: np.ndarray


class Simulation:
    """One world that can be reset, stepped, commanded and looked at.

    Everything is a function of the seed and the commands: the same ones give the same states and pixels.

    Args:
        robot: the robot file.
        task: a task or its name.
        seed: of the first episode.

    Attributes:
        on_command: called at every update of the controllers, before the drives move, with what they command:
            (3, J) positions in rad, velocities in rad/s, accelerations in rad/s^2, in the controllers' order.

    Raises:
        UserError: unknown task, or the robot's URDF does not suit the simulation.
    """

    def __init__(self, robot: RobotDescription, task: Task | str, seed: int = 0) -> None:
        self.robot = robot
        self.on_command: Callable[[np.ndarray], None] | None = None
        self.task = load_task(task) if isinstance(task, str) else task
        self.model = build_world(robot, self.task)
        self.data = mujoco.MjData(self.model)
        self._timestep_s = float(self.model.opt.timestep)
        self._steps_per_update = steps_per_update(robot)
        self._home_qpos = home_qpos(self.model, robot)
        self._renderer = CameraRenderer(self.model)
        self._appearance = Appearance(self.model)
        self._controllers = {
            controller.name: JointTrajectoryController(
                controller.joints, robot.rates.controller_hz, interpolate_from_desired_state=True
            )
            for controller in robot.controllers
        }
        joints = self._command_joints()
        self._qpos = np.array([self.model.joint(joint).qposadr[0] for joint in joints])
        self._qvel = np.array([self.model.joint(joint).dofadr[0] for joint in joints])
        self._robot_dofs = np.flatnonzero(self.model.body_gravcomp[self.model.dof_bodyid] > 0.0)
        actuators = np.array([self.model.actuator(joint).id for joint in joints])
        self._actuators = actuators
        self._targets = np.zeros(len(joints))
        self._driven = []
        for controller in self._controllers.values():
            start = sum(len(other.joints) for other, _ in self._driven)
            self._driven.append((controller, slice(start, start + len(controller.joints))))
        # A servo pulls with stiffness (target - position) - damping velocity: a moving target needs a lead.
        self._lead_s = -self.model.actuator_biasprm[actuators, 2] / self.model.actuator_gainprm[actuators, 0]
        self.reset(seed)

    @property
    def time_s(self) -> float:
        """Simulated time since the reset, in s."""
        return self._steps * self._timestep_s

    @property
    def instruction(self) -> str:
        return self.task.instruction

    def reset(self, seed: int) -> None:
        """A new episode: the robot at home and at rest, objects, light and cameras as the seed draws them."""
        generator = np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self._home_qpos
        self._steps = 0
        self._remainder_s = 0.0
        self._refused_target = False
        self._appearance.randomise(generator.uniform(*BRIGHTNESS), np.random.default_rng([seed, 11]))
        self.task.randomise(self.model, self.data, generator)
        self._hold_here()
        self._place_fixed_cameras()

    def place_robot(self, positions: np.ndarray) -> None:
        """Put the robot at `positions` (A,) rad, ordered as the actions, at rest; controllers start anew."""
        set_joints(self.model, self.data.qpos, self.robot.action_joints, positions)
        self.data.qvel[self._robot_dofs] = 0.0
        self._hold_here()

    def step(self, duration_s: float) -> None:
        """Advance by `duration_s`; what is left below one physics step is carried over to the next call."""
        self._remainder_s += duration_s
        count = int(self._remainder_s / self._timestep_s + 1e-6)
        self._remainder_s -= count * self._timestep_s
        for _ in range(count):
            self._step()

    def send(self, controller_name: str, trajectory: JointTrajectory) -> Acceptance:
        """Give a trajectory to a controller, as on its topic; it takes effect at its next update.

        Raises:
            UserError: the robot has no such controller.
        """
        self.robot.controller(controller_name)
        return self._controllers[controller_name].accept(trajectory, self.time_s)

    def joint_states(self) -> JointStates:
        """The measured joints that the controllers drive, in the controllers' order."""
        return JointStates(
            self.time_s,
            self._command_joints(),
            self.data.qpos[self._qpos],
            self.data.qvel[self._qvel],
            self.data.actuator_force[self._actuators].copy(),
        )

    def robot_state(self) -> RobotState:
        """The state vector at this moment."""
        states = self.joint_states()
        return build_state(self.robot, states.names, states.positions, states.stamp_s)

    def observation(self) -> Observation:
        """What a policy gets to see at this moment, ground truth included."""
        images = {camera.role: self.render(camera.role) for camera in self.robot.cameras}
        return build_observation(self.robot, self.time_s, images, self.robot_state(), self.ground_truth())

    def render(self, role: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the camera of that role at its native size.

        Raises:
            UserError: no such camera, or OpenGL cannot start.
        """
        return self._renderer.render(self.data, self.robot.camera(role))

    def grounding(self, role: str) -> np.ndarray:
        """Where the task's objects are seen: (O, cells) uint8, the share of 255 of each vision token's pixels.

        O follows the task's `object_names`; the cells are squares of `token_side` pixels of the image at the
        model's size, row by row: what one token of the language model covers.
        """
        camera = self.robot.camera(role)
        ids = self._renderer.segment(self.data, camera)
        geoms = self.task.object_geoms(self.model)
        side = token_side(camera.model_width, camera.model_height)
        rows, columns = camera.model_height // side, camera.model_width // side
        shown = np.zeros((len(self.task.object_names), *ids.shape), dtype=bool)
        for index, name in enumerate(self.task.object_names):
            shown[index] = np.isin(ids, geoms.get(name, []))
        cells = shown.reshape(len(shown), rows, side, columns, side).mean(axis=(2, 4))
        return np.round(255.0 * cells).astype(np.uint8).reshape(len(shown), rows * columns)

    def camera_matrix(self, role: str) -> np.ndarray:
        """(3, 3) camera matrix in pixels, for camera_info."""
        return self._renderer.matrix(self.robot.camera(role))

    def ground_truth(self) -> Mapping[str, Any]:
        """The task's ground truth (see there) with the true joint positions in rad under `joints`."""
        states = self.joint_states()
        joints = {name: float(position) for name, position in zip(states.names, states.positions)}
        return {**self.task.ground_truth(self.model, self.data), "time_s": self.time_s, "joints": joints}

    def success(self) -> bool:
        """Whether the task's instruction is carried out, from the physics."""
        return self.task.success(self.model, self.data)

    def close(self) -> None:
        """Free the OpenGL contexts."""
        self._renderer.close()

    def _command_joints(self) -> tuple[str, ...]:
        return tuple(joint for controller in self.robot.controllers for joint in controller.joints)

    def _hold_here(self) -> None:
        """Controllers and drives start anew and hold the position that the robot is in."""
        for controller in self._controllers.values():
            controller.reset()
        self.data.ctrl[self._actuators] = self.data.qpos[self._qpos]
        mujoco.mj_forward(self.model, self.data)

    def _place_fixed_cameras(self) -> None:
        """Lights and cameras stand where a reset moved them; physics with sleeping bodies leaves these out."""
        sleep = int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self.model.opt.enableflags &= ~sleep
        mujoco.mj_camlight(self.model, self.data)
        self.model.opt.enableflags |= sleep

    def _step(self) -> None:
        if self._steps % self._steps_per_update == 0:
            self._update_controllers()
        mujoco.mj_step(self.model, self.data)
        self._steps += 1

    def _update_controllers(self) -> None:
        """One cycle of the servo loop; a drive that is given no finite target keeps its last one."""
        positions, velocities = self.data.qpos[self._qpos], self.data.qvel[self._qvel]
        targets = self._targets
        commands = np.empty((3, len(targets)))
        for controller, part in self._driven:
            commands[:, part] = controller.update(self.time_s, positions[part], velocities[part])
            targets[part] = commands[0, part] + self._lead_s[part] * commands[1, part]
        if self.on_command is not None:
            self.on_command(commands)
        if np.isfinite(targets).all():
            self.data.ctrl[self._actuators] = targets
        elif not self._refused_target:
            self._refused_target = True
            _log.error("a controller commands a value that is not finite; the drives keep their last targets")
