"""The MuJoCo world: the same robot as the URDF, accurate servos, a gripper of limited force."""

from dataclasses import replace

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.robot import parse_robot
from dexvla_sim.engine import mujoco
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task
from dexvla_sim.world import build_world


def test_every_frame_of_the_urdf_survives(simulation):
    for frame in (
        "tool0",
        "flange",
        "grasp_frame",
        "scene_camera_optical_frame",
        "wrist_camera_optical_frame",
    ):
        assert simulation.data.body(frame).id > 0


def test_the_tool_stands_where_the_urdf_says(simulation):
    bent = np.array([0.0, -np.pi / 2, np.pi / 2, -np.pi / 2, -np.pi / 2, 0.0, 0.0])
    simulation.place_robot(bent)
    assert simulation.data.body("tool0").xpos == pytest.approx([0.4919, 0.1333, 0.4879], abs=1e-4)


def test_the_arm_holds_its_pose_without_sagging(simulation):
    before = simulation.robot_state().positions
    simulation.step(2.0)
    assert simulation.robot_state().positions == pytest.approx(before, abs=1e-4)


def test_servos_follow_within_ten_milliseconds_and_come_to_rest(simulation, command):
    home = simulation.robot.home_positions
    away = home + [0.6, 0.3, -0.5, 0.5, 0.4, 0.6, 0.4]
    times = np.linspace(0.0, 1.0, 51)
    share = 10 * times**3 - 15 * times**4 + 6 * times**5
    rows = home + share[:, None] * (away - home)
    command(simulation, rows, times)
    speed = np.abs(np.gradient(rows, times, axis=0))
    for row in range(1, len(times)):
        simulation.step(times[1])
        error = np.abs(simulation.robot_state().positions - rows[row])
        assert (error <= 0.010 * speed[row] + 1e-3).all()
    simulation.step(0.2)
    assert simulation.robot_state().positions == pytest.approx(away, abs=5e-4)


def test_followers_of_the_gripper_keep_up_with_it(simulation, command):
    home = simulation.robot.home_positions
    closed = np.append(home[:6], 0.6)
    command(simulation, np.stack([home, closed]), np.array([0.0, 1.5]))
    simulation.step(2.0)
    for joint, ratio in (("right_knuckle", -1), ("left_finger_tip", -1), ("right_finger_tip", 1)):
        assert simulation.data.joint(f"robotiq_85_{joint}_joint").qpos[0] == pytest.approx(
            0.6 * ratio, abs=0.01
        )


def test_the_gripper_presses_no_harder_than_the_real_one(simulation, command, move_object):
    """With the command far beyond a cube's width the force stays within a 2F-85's 20 to 235 N."""
    move_object(simulation, 0, tuple(simulation.data.body("grasp_frame").xpos))
    home = simulation.robot.home_positions
    command(simulation, np.stack([home, np.append(home[:6], 0.75)]), np.array([0.0, 0.3]))
    cube = simulation.model.geom("cube_0").id
    simulation.model.opt.gravity[2] = 0.0
    try:
        simulation.step(2.0)
    finally:
        simulation.model.opt.gravity[2] = -9.81
    contacts = [index for index in range(simulation.data.ncon) if cube in simulation.data.contact.geom[index]]
    force, total = np.zeros(6), 0.0
    for index in contacts:
        mujoco.mj_contactForce(simulation.model, simulation.data, index, force)
        total += force[0]
    assert 2 * 20.0 < total < 2 * 235.0


def test_a_camera_frame_that_is_not_in_the_urdf_is_named(robot):
    text = robot.text.replace("frame: scene_camera_optical_frame", "frame: ceiling_camera")
    with pytest.raises(UserError, match="scene has the frame 'ceiling_camera'.*has no such link"):
        build_world(parse_robot(text, robot.path), load_task("pick_place"))


def test_a_camera_frame_without_opening_angle_is_named(robot):
    text = robot.text.replace("frame: scene_camera_optical_frame", "frame: tool0")
    with pytest.raises(UserError, match="how wide the camera at tool0 sees"):
        build_world(parse_robot(text, robot.path), load_task("pick_place"))


@pytest.mark.parametrize(("controller_hz", "timestep_s"), [(125.0, 0.002), (1000.0, 0.001), (400.0, 0.00125)])
def test_controllers_run_at_the_robot_files_rate(robot, controller_hz, timestep_s):
    slow = replace(robot, rates=replace(robot.rates, controller_hz=controller_hz))
    simulation = Simulation(slow, "pick_place")
    assert simulation.model.opt.timestep == pytest.approx(timestep_s)
    updates = []
    for name, controller in simulation._controllers.items():
        update = controller.update
        controller.update = lambda *args, update=update, name=name: updates.append(name) or update(*args)
    simulation.step(0.4)
    assert updates.count("gripper_controller") == round(0.4 * controller_hz)
