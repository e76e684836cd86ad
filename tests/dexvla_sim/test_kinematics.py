"""Kinematics of the grasp frame: there and back."""

from dataclasses import replace

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_sim.kinematics import ToolKinematics, quaternion_of, rotation_matrix, rotation_vector


@pytest.fixture(scope="module")
def kinematics(robot) -> ToolKinematics:
    return ToolKinematics(robot)


def test_the_arm_moves_the_frame_and_the_gripper_does_not(kinematics):
    assert kinematics.arm.tolist() == [0, 1, 2, 3, 4, 5]
    assert kinematics.gripper.tolist() == [6]


def test_inverse_finds_back_on_the_same_branch(kinematics, robot):
    generator = np.random.default_rng(0)
    home = robot.home_positions[:6]
    for _ in range(20):
        arm = home + generator.uniform(-0.3, 0.3, 6)
        position, rotation = kinematics.forward(arm)
        assert kinematics.inverse(position, rotation, home) == pytest.approx(arm, abs=1e-3)


def test_the_jacobian_is_the_derivative_of_the_pose(kinematics, robot):
    arm, step = robot.home_positions[:6], 1e-6
    jacobian = kinematics.jacobian(arm)
    position, rotation = kinematics.forward(arm)
    for joint in range(6):
        there, turned = kinematics.forward(arm + step * np.eye(6)[joint])
        change = np.concatenate([there - position, rotation_vector(turned @ rotation.T)]) / step
        assert change == pytest.approx(jacobian[:, joint], abs=1e-5)


def test_out_of_reach_it_stretches_towards_the_place(kinematics, robot):
    home = robot.home_positions[:6]
    _, rotation = kinematics.forward(home)
    arm = kinematics.inverse(np.array([2.0, 0.0, 0.2]), rotation, home)
    assert np.isfinite(arm).all()
    assert kinematics.forward(arm)[0][0] > 0.6


def test_the_opening_shrinks_from_85_mm_to_nothing(kinematics):
    openings = [kinematics.gripper_opening(np.array([angle])) for angle in (0.0, 0.4, 0.7929)]
    assert openings == pytest.approx([0.085, 0.045, 0.0], abs=1.5e-3)


def test_rotation_vectors_and_matrices_are_inverse():
    for vector in ([0.0, 0.0, 0.0], [0.3, -0.2, 1.0], [0.0, 3.0, 0.0]):
        assert rotation_vector(rotation_matrix(np.array(vector))) == pytest.approx(vector)


def test_a_quarter_turn_about_z_as_a_quaternion():
    assert quaternion_of(rotation_matrix(np.array([0.0, 0.0, np.pi / 2.0]))) == pytest.approx(
        [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]
    )


def test_a_urdf_without_grasp_frame_is_the_users_mistake(robot, tmp_path):
    path = tmp_path / "bare.urdf"
    path.write_text(robot.urdf_xml().replace("grasp_frame", "somewhere"), encoding="utf-8")
    with pytest.raises(UserError, match="bare.urdf: there is no link grasp_frame"):
        ToolKinematics(replace(robot, urdf_path=path, urdf_arguments={}))
