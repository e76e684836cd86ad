"""One robot and one compiled world for all tests of the simulation; every test resets it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from dexvla_model.observation import Observation
from dexvla_model.policy import Policy
from dexvla_model.robot import RobotDescription, load_robot
from dexvla_model.streaming import JointTrajectory
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation


@pytest.fixture(scope="session")
def robot() -> RobotDescription:
    return load_robot("ur5e")


@pytest.fixture(scope="session")
def shared_simulation(robot: RobotDescription) -> Simulation:
    return Simulation(robot, "pick_place", seed=0)


@pytest.fixture
def simulation(shared_simulation: Simulation) -> Simulation:
    shared_simulation.reset(0)
    return shared_simulation


@pytest.fixture(scope="session")
def policy(robot: RobotDescription) -> ScriptedPolicy:
    return ScriptedPolicy(robot)


@dataclass
class Outcome:
    """What became of a closed loop."""

    success: bool
    finished: bool
    duration_s: float
    sub_steps: list[str] = field(default_factory=list)


def command(simulation: Simulation, positions: np.ndarray, times_s: np.ndarray, stamp_s: float = 0.0) -> None:
    """Send rows (N, A) to all controllers, with velocities, and at rest after the last one."""
    robot = simulation.robot
    velocities = np.gradient(positions, times_s, axis=0)
    velocities[-1] = 0.0
    for controller in robot.controllers:
        columns = [robot.action_joints.index(joint) for joint in controller.joints]
        trajectory = JointTrajectory(
            controller.joints, stamp_s, times_s, positions[:, columns], velocities[:, columns]
        )
        assert simulation.send(controller.name, trajectory).accepted


def observe(simulation: Simulation) -> Observation:
    """An observation without pictures, which the scripted policy does not look at."""
    return Observation(simulation.time_s, {}, simulation.robot_state(), simulation.ground_truth())


def drive(
    simulation: Simulation,
    policy: Policy,
    disturb: Callable[[Simulation], None] = lambda simulation: None,
    noise_rad: float = 0.0,
    late_substeps: bool = False,
    timeout_s: float = 20.0,
) -> Outcome:
    """Run a policy from the present state: a new chunk every 0.2 s, each 0.1 s old when it takes effect.

    `late_substeps`: the sub-step acted on is that of the observation before, as with a slow language model.
    """
    generator = np.random.default_rng(0)
    outcome = Outcome(success=False, finished=False, duration_s=0.0)
    previous = waiting = None
    while simulation.time_s < timeout_s:
        observation = observe(simulation)
        substep = policy.reason(observation, simulation.instruction)
        if outcome.sub_steps[-1:] != [substep.text]:
            outcome.sub_steps.append(substep.text)
        if substep.finished:
            outcome.finished = True
            break
        if late_substeps:
            substep, waiting = waiting or substep, substep
        prefix = None
        if previous is not None:
            row = round((observation.stamp_s - previous.stamp_s) / previous.step_s)
            prefix = previous.positions[row : row + 2]
        previous = policy.act(substep, observation.state, prefix)
        simulation.step(0.1)
        rows = previous.positions + generator.normal(0.0, noise_rad, previous.positions.shape)
        command(simulation, rows, np.arange(len(rows)) * previous.step_s, previous.stamp_s)
        simulation.step(0.1)
        disturb(simulation)
    outcome.duration_s = simulation.time_s
    simulation.step(1.0)
    outcome.success = simulation.success()
    return outcome


@pytest.fixture(scope="session", name="drive")
def _drive() -> Callable[..., Outcome]:
    return drive


@pytest.fixture(scope="session", name="command")
def _command() -> Callable[..., None]:
    return command


@pytest.fixture(scope="session", name="observe")
def _observe() -> Callable[..., Observation]:
    return observe


@pytest.fixture(scope="session")
def move_object() -> Callable[..., None]:
    """Puts the cube of an index at a place (x, y, z) by hand, at rest."""

    def move(simulation: Simulation, index: int, place: tuple[float, float, float]) -> None:
        joint = simulation.data.joint(f"cube_{index}_joint")
        joint.qpos[:3] = place
        joint.qpos[3:] = (1.0, 0.0, 0.0, 0.0)
        joint.qvel[:] = 0.0

    return move
