"""Every robot file in MuJoCo: it builds, stands, reaches, looks, and does what is asked of it by script."""

from functools import cache

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot
from dexvla_model.streaming import JointTrajectory
from dexvla_sim.kinematics import GripperStroke, ToolKinematics
from dexvla_sim.rollout import Rollout
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import default_task

ROBOTS = ("agilex_dual", "agilex_piper", "fr3", "fr3_leap", "inspire", "leap", "ur5e_inspire")
GRIPPERS = ("agilex_piper", "fr3")
WITHOUT_ANOTHER_TASK = ("inspire", "leap")

description = cache(load_robot)


@cache
def built(robot: str, task: str) -> Simulation:
    return Simulation(description(robot), task)


def world(robot: str, task: str = "posture") -> Simulation:
    simulation = built(robot, task)
    simulation.reset(0)
    return simulation


def limits(robot: str, name: str) -> np.ndarray:
    described = description(robot)
    return np.array([getattr(described.limits[joint], name) for joint in described.action_joints])


def go(simulation: Simulation, goal: np.ndarray) -> None:
    """All joints to `goal` (A,) and to rest there, as fast as the slowest joint's velocity limit allows."""
    robot, start = simulation.robot, simulation.robot_state().positions
    velocity = np.array([robot.limits[joint].velocity for joint in robot.action_joints])
    duration_s = max(0.5, float(np.max(np.abs(goal - start) / velocity)) * 2.0)
    times = np.linspace(0.0, duration_s, 41)
    share = times / duration_s
    rows = start + (10 * share**3 - 15 * share**4 + 6 * share**5)[:, None] * (goal - start)
    velocities = np.gradient(rows, times, axis=0)
    velocities[[0, -1]] = 0.0
    for controller in robot.controllers:
        columns = [robot.action_joints.index(joint) for joint in controller.joints]
        trajectory = JointTrajectory(controller.joints, 0.0, times, rows[:, columns], velocities[:, columns])
        assert simulation.send(controller.name, trajectory).accepted
    simulation.step(duration_s + 0.4)


@pytest.mark.parametrize("robot", ROBOTS)
def test_it_stands_at_home_and_holds_it_under_gravity(robot):
    simulation = world(robot)
    assert simulation.model.opt.gravity[2] < -9.0
    home = description(robot).home_positions
    assert simulation.robot_state().positions == pytest.approx(home, abs=1e-6)
    simulation.step(1.0)
    assert simulation.robot_state().positions == pytest.approx(home, abs=1e-4)
    assert np.abs(simulation.joint_states().velocities).max() < 1e-3


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("end", ["lower", "upper"])
def test_every_joint_gets_to_the_ends_of_its_range(robot, end):
    """Of all joints at once, in a world in which nothing is in the way."""
    simulation = Simulation(description(robot), "posture")
    simulation.model.geom_contype[:] = 0
    simulation.model.geom_conaffinity[:] = 0
    goal = limits(robot, end)
    go(simulation, goal)
    tolerance = np.where(limits(robot, "unit") == "m", 1e-4, 2e-3)
    assert (np.abs(simulation.robot_state().positions - goal) < tolerance).all()


@pytest.mark.parametrize("robot", ROBOTS)
def test_its_cameras_show_it(robot):
    simulation = world(robot)
    for camera in description(robot).cameras:
        image = simulation.render(camera.role)
        assert image.shape == (camera.height, camera.width, 3)
        ids = simulation._renderer.segment(simulation.data, camera)
        bodies = simulation.model.geom_bodyid[ids[ids >= 0]]
        of_robot = simulation.model.body_gravcomp[bodies] > 0.0
        assert 0.005 < of_robot.sum() / ids.size < 0.9, camera.role


@pytest.mark.parametrize("robot", ["inspire", "ur5e_inspire"])
def test_the_inspire_hands_coupled_joints_follow(robot):
    simulation = world(robot)
    simulation.reset(0)
    goal = description(robot).home_positions
    joints = description(robot).action_joints
    goal[[joints.index("index_proximal_joint"), joints.index("thumb_proximal_pitch_joint")]] = 1.2, 0.5
    go(simulation, goal)
    for joint, expected in (
        ("index_intermediate_joint", 1.06399 * 1.2 - 0.04545),
        ("middle_intermediate_joint", 1.06399 * goal[joints.index("middle_proximal_joint")] - 0.04545),
        ("thumb_intermediate_joint", 1.334 * 0.5),
        ("thumb_distal_joint", 0.667 * 0.5),
    ):
        assert simulation.data.joint(joint).qpos[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("robot", "leader", "follower", "ratio"),
    [
        ("fr3", "fr3_finger_joint1", "fr3_finger_joint2", 1.0),
        ("agilex_piper", "joint7", "joint8", -1.0),
        ("agilex_dual", "right_joint7", "right_joint8", -1.0),
    ],
)
def test_both_fingers_of_a_gripper_move(robot, leader, follower, ratio):
    simulation = world(robot)
    goal = description(robot).home_positions.copy()
    goal[description(robot).action_joints.index(leader)] = 0.01
    go(simulation, goal)
    assert simulation.data.joint(leader).qpos[0] == pytest.approx(0.01, abs=1e-4)
    assert simulation.data.joint(follower).qpos[0] == pytest.approx(ratio * 0.01, abs=2e-4)


@pytest.mark.parametrize(("robot", "opening_m"), [("fr3", 0.08), ("agilex_piper", 0.07), ("ur5e", 0.085)])
def test_a_grippers_stroke_goes_from_open_to_closed(robot, opening_m):
    stroke = GripperStroke(ToolKinematics(description(robot)))
    assert stroke.opening_m == pytest.approx(opening_m, abs=1e-3)
    for width_m in (0.02, 0.04, 0.06):
        assert 0.0 < stroke.contact(width_m) < 1.0
        assert stroke.closed(stroke.position(stroke.contact(width_m))) == pytest.approx(stroke.contact(width_m))
    assert stroke.contact(0.06) < stroke.contact(0.02)


@pytest.mark.parametrize("robot", GRIPPERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_gripper_picks_and_places_by_script(robot, seed):
    assert default_task(description(robot)) == "pick_place"
    result = Rollout(world(robot, "pick_place"), ScriptedPolicy(description(robot))).run(seed, 25.0)
    assert result.success and result.finished and result.refused_chunks == 0


@pytest.mark.parametrize("robot", WITHOUT_ANOTHER_TASK)
def test_a_robot_without_another_task_takes_postures_by_script(robot):
    assert default_task(description(robot)) == "posture"
    simulation, policy = world(robot), ScriptedPolicy(description(robot))
    for seed in range(2):
        result = Rollout(simulation, policy).run(seed, 20.0)
        assert result.success and result.finished and result.refused_chunks == 0


@pytest.mark.parametrize("robot", ROBOTS)
def test_postures_differ_and_stay_off_the_table_and_within_the_limits(robot):
    simulation, goals = world(robot), []
    lower, upper = limits(robot, "lower"), limits(robot, "upper")
    for seed in range(5):
        simulation.reset(seed)
        assert not simulation.success()
        drawn = simulation.ground_truth()["goals"]
        goals.append([drawn[joint] for joint in description(robot).action_joints])
        simulation.place_robot(np.clip(goals[-1], lower, upper))
        model, data = simulation.model, simulation.data
        touching = data.contact.geom[: data.ncon]
        assert not (model.body_gravcomp[model.geom_bodyid[touching]] > 0.0).any()
    assert len({tuple(goal) for goal in goals}) == 5


def test_a_hand_cannot_pick_by_script_and_says_why():
    with pytest.raises(UserError, match=r"leap.yaml: 16 joints of the action do not move grasp_frame"):
        ScriptedPolicy(description("leap")).prepare("pick_place")


def test_a_task_without_a_script_is_named():
    with pytest.raises(UserError, match="'juggle' .allowed: pick_place, posture"):
        ScriptedPolicy(description("leap")).prepare("juggle")
