"""Simulation: deterministic by seed, right in its times, honest about its cameras and commands."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.streaming import JointTrajectory
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task


def wave(simulation: Simulation, command) -> None:
    home = simulation.robot.home_positions
    command(simulation, np.stack([home, home + [0.3, 0.2, -0.3, 0.1, 0.2, 0.5, 0.5]]), np.array([0.0, 0.6]))
    simulation.step(0.8)


def test_the_same_seed_gives_the_same_states_and_pixels(robot, simulation, command):
    other = Simulation(robot, "pick_place", seed=7)
    simulation.reset(3)
    wave(simulation, command)  # what was before a reset leaves no trace
    for one in (simulation, other):
        one.reset(7)
        wave(one, command)
    assert np.array_equal(simulation.data.qpos, other.data.qpos)
    assert np.array_equal(simulation.data.qvel, other.data.qvel)
    assert simulation.ground_truth() == other.ground_truth()
    for role in ("scene", "wrist"):
        assert np.array_equal(simulation.render(role), other.render(role))
    other.close()


def test_other_seeds_give_other_scenes(simulation):
    scenes = []
    for seed in range(4):
        simulation.reset(seed)
        scenes.append(simulation.ground_truth())
    places = {tuple(entry["position"]) for scene in scenes for entry in scene["objects"]}
    assert len(places) == 12
    assert len({scene["instruction"] for scene in scenes}) > 1


def test_time_counts_from_the_reset_and_short_steps_add_up(simulation):
    simulation.step(0.1)
    for _ in range(100):
        simulation.step(0.001)
    assert simulation.time_s == pytest.approx(0.2)
    simulation.reset(0)
    assert simulation.time_s == 0.0


def test_it_starts_at_home_and_at_rest(simulation):
    states = simulation.joint_states()
    assert dict(zip(states.names, states.positions)) == pytest.approx(simulation.robot.home)
    assert not states.velocities.any() and not states.efforts.any()


def test_an_observation_has_the_model_sizes_and_the_ground_truth(simulation):
    observation = simulation.observation()
    assert observation.images["scene"].shape == (112, 140, 3)
    assert observation.images["wrist"].shape == (84, 84, 3)
    assert observation.state.positions == pytest.approx(simulation.robot.home_positions)
    assert observation.ground_truth["target"].split()[0] in simulation.instruction


def test_the_camera_matrix_and_frame_tell_where_an_object_appears(simulation):
    """Each cube's centre, projected through camera_matrix and the optical frame, has its colour."""
    image = simulation.render("scene").astype(float)
    frame = simulation.data.body("scene_camera_optical_frame")
    for entry in simulation.ground_truth()["objects"]:
        seen = frame.xmat.reshape(3, 3).T @ (np.array(entry["position"]) - frame.xpos)
        u, v, w = simulation.camera_matrix("scene") @ seen
        red, green, blue = image[round(v / w), round(u / w)]
        expected = {
            "red": red > 2 * max(green, blue),
            "green": green > 1.5 * max(red, blue),
            "blue": blue > 1.5 * max(red, green),
            "yellow": min(red, green) > 2 * blue,
        }
        assert expected[entry["colour"]]


def test_every_object_and_the_tray_lie_within_the_scene_view(simulation):
    frame = simulation.data.body("scene_camera_optical_frame")
    camera = simulation.robot.camera("scene")
    for seed in range(50):
        simulation.reset(seed)
        scene = simulation.ground_truth()
        tray, (half_x, half_y) = np.array(scene["tray"]["position"]), scene["tray"]["half_extents"]
        points = [tray + [sx * half_x, sy * half_y, 0.0] for sx in (-1, 1) for sy in (-1, 1)]
        points += [np.array(entry["position"]) for entry in scene["objects"]]
        for point in points:
            u, v, w = simulation.camera_matrix("scene") @ frame.xmat.reshape(3, 3).T @ (point - frame.xpos)
            assert 0 <= u / w < camera.width and 0 <= v / w < camera.height


def test_the_wrist_camera_moves_with_the_arm(simulation, command):
    before = simulation.render("wrist")
    wave(simulation, command)
    assert np.abs(simulation.render("wrist").astype(int) - before).mean() > 10.0


def test_a_refused_trajectory_says_why(simulation):
    answer = simulation.send(
        "gripper_controller", JointTrajectory(("elbow_joint",), 0.0, np.array([1.0]), np.array([[0.0]]))
    )
    assert not answer.accepted and "elbow_joint" in answer.reason


def test_a_command_that_is_not_finite_leaves_the_drives_where_they_are(simulation, caplog):
    joints = ("robotiq_85_left_knuckle_joint",)
    with caplog.at_level(logging.ERROR):
        simulation.send(
            "gripper_controller", JointTrajectory(joints, 0.0, np.array([0.1]), np.array([[np.nan]]))
        )
        simulation.step(0.5)
    assert simulation.robot_state().positions == pytest.approx(simulation.robot.home_positions, abs=1e-3)
    assert sum("not finite" in record.message for record in caplog.records) == 1


def test_unknown_names_are_the_users_mistake(simulation):
    with pytest.raises(UserError, match="no task named 'fold_laundry'.*pick_place"):
        load_task("fold_laundry")
    with pytest.raises(UserError, match="no camera with the role 'ceiling'"):
        simulation.render("ceiling")
    with pytest.raises(UserError, match="no controller named 'leg_controller'"):
        simulation.send("leg_controller", JointTrajectory((), 0.0, np.array([]), np.zeros((0, 0))))


def test_without_opengl_physics_runs_and_a_picture_says_what_to_install():
    script = """
from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot
from dexvla_sim.simulation import Simulation
simulation = Simulation(load_robot("ur5e"), "pick_place")
simulation.step(0.01)
try:
    simulation.render("scene")
except UserError as error:
    print(error)
"""
    environment = {**os.environ, "MUJOCO_GL": "disabled", "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert "MUJOCO_GL=disabled" in answer.stdout and "libegl1" in answer.stdout
