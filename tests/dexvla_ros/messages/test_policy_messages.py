"""Observation, SubStep, ActionChunk, JointTrajectory and ground truth between messages and dataclasses."""

import math

import numpy as np
import pytest

from dexvla_model.observation import InvalidObservation, MissingJoint, build_observation, build_state
from dexvla_model.policy import ActionChunk, SubStep
from dexvla_model.streaming import JointTrajectory
from dexvla_msgs.msg import SubStep as SubStepMessage
from dexvla_ros.messages.action_chunks import action_chunk_from_message, action_chunk_to_message
from dexvla_ros.messages.camera_infos import camera_info_message
from dexvla_ros.messages.ground_truth import ground_truth_from_message, ground_truth_to_message
from dexvla_ros.messages.joint_states import joint_state_message, state_from_message
from dexvla_ros.messages.observations import observation_from_message, observation_to_message
from dexvla_ros.messages.sub_steps import stopped_message, sub_step_from_message, sub_step_to_message
from dexvla_ros.messages.trajectories import trajectory_from_message, trajectory_to_message

TRUTH = {
    "task": "pick_place",
    "target": "red cube",
    "objects": [
        {
            "name": "red cube",
            "colour": "red",
            "position": [0.4, -0.1, 0.02],
            "quaternion": [0.0, 0.0, 0.1, 0.995],
            "half_size": 0.02,
            "held": False,
        }
    ],
    "tray": {"position": [0.44, 0.31, 0.0], "half_extents": [0.085, 0.075]},
    "success": False,
}


@pytest.fixture
def joint_state(robot):
    positions = np.linspace(-1.0, 1.0, len(robot.state_joints))
    return joint_state_message(3.5, robot.state_joints, positions, positions * 0.1)


@pytest.fixture
def observation_message(robot, joint_state):
    generator = np.random.default_rng(1)
    images = {
        camera.role: generator.integers(0, 256, (camera.model_height, camera.model_width, 3), dtype=np.uint8)
        for camera in robot.cameras
    }
    state = state_from_message(robot, joint_state)
    observation = build_observation(robot, 3.51, images, state)
    frames = [camera.frame for camera in robot.cameras]
    return observation, observation_to_message(
        observation, 3_510_000_000, joint_state, frames, [3_500_000_000, 3_510_000_000]
    )


def test_an_observation_survives_the_round_trip(robot, observation_message):
    observation, message = observation_message
    received = observation_from_message(robot, message)
    assert received.stamp_s == observation.stamp_s
    assert received.state.stamp_s == 3.5
    assert received.ground_truth is None
    np.testing.assert_array_equal(received.state.positions, observation.state.positions)
    assert list(received.images) == [camera.role for camera in robot.cameras]
    for role, image in observation.images.items():
        np.testing.assert_array_equal(received.images[role], image)


def test_an_observation_without_a_camera_is_refused(robot, observation_message):
    message = observation_message[1]
    message.camera_roles[0] = "other"
    with pytest.raises(InvalidObservation, match=f"no image of the camera {robot.cameras[0].role}"):
        observation_from_message(robot, message)


def test_an_observation_of_another_size_is_refused(robot, observation_message):
    message = observation_message[1]
    message.images.reverse()
    with pytest.raises(InvalidObservation, match="pixels, the robot file says"):
        observation_from_message(robot, message)


def test_joints_are_matched_by_name(robot):
    names = robot.state_joints[::-1]
    message = joint_state_message(1.0, names, range(len(names)))
    state = state_from_message(robot, message)
    np.testing.assert_array_equal(state.positions, np.arange(len(names))[::-1])


def test_a_missing_joint_and_a_value_that_is_not_finite_are_refused(robot):
    message = joint_state_message(1.0, robot.state_joints[1:], np.zeros(len(robot.state_joints) - 1))
    with pytest.raises(MissingJoint):
        state_from_message(robot, message)
    message = joint_state_message(1.0, robot.state_joints, [math.nan] * len(robot.state_joints))
    with pytest.raises(InvalidObservation):
        state_from_message(robot, message)


def test_a_sub_step_survives_the_round_trip():
    substep = SubStep("grasp it", np.array([0.5, -1.25, 3.0], np.float32), 7.125)
    message = sub_step_to_message(substep, "put it away", "tiny", 3, 0.14, SubStepMessage.ACTIVE)
    received = sub_step_from_message(message)
    assert (received.text, received.stamp_s, received.finished) == ("grasp it", 7.125, False)
    np.testing.assert_array_equal(received.condition, substep.condition)
    assert (message.instruction, message.policy, message.episode) == ("put it away", "tiny", 3)


def test_finished_and_stopped_are_told_apart():
    substep = SubStep("done", np.zeros(1, np.float32), 7.0, finished=True)
    message = sub_step_to_message(substep, "x", "tiny", 1, 0.0, SubStepMessage.FINISHED)
    assert sub_step_from_message(message).finished
    assert stopped_message(7.0, "x", "tiny", 1).status == SubStepMessage.STOPPED


def test_a_chunk_survives_the_round_trip():
    chunk = ActionChunk(2.5, 0.1, ("a", "b"), np.arange(8.0).reshape(4, 2))
    message = action_chunk_to_message(chunk, 2.25, 0.05, 2)
    received = action_chunk_from_message(message)
    assert (received.stamp_s, received.step_s, received.joints) == (2.5, 0.1, ("a", "b"))
    np.testing.assert_array_equal(received.positions, chunk.positions)
    assert (message.rows, message.prefix_rows) == (4, 2)


def test_a_chunk_of_another_size_than_it_states_is_refused():
    message = action_chunk_to_message(ActionChunk(2.5, 0.1, ("a", "b"), np.zeros((4, 2))), 2.25, 0.05, 0)
    message.rows = 5
    with pytest.raises(InvalidObservation, match="5 x 2"):
        action_chunk_from_message(message)


def test_a_trajectory_survives_the_round_trip_to_the_nanosecond():
    times = np.arange(5) / 32.0
    trajectory = JointTrajectory(
        ("a", "b"), 12.03125, times, *(np.random.default_rng(2).normal(size=(3, 5, 2)))
    )
    received = trajectory_from_message(trajectory_to_message(trajectory))
    assert (received.joints, received.stamp_s, received.efforts) == (("a", "b"), 12.03125, None)
    np.testing.assert_array_equal(received.times_s, times)
    for field in ("positions", "velocities", "accelerations"):
        np.testing.assert_array_equal(getattr(received, field), getattr(trajectory, field))


def test_ragged_fields_of_a_trajectory_arrive_as_they_are():
    message = trajectory_to_message(JointTrajectory(("a",), 0.0, [0.5, 1.0], [[1.0], [2.0]], [[0.1], [0.0]]))
    message.points[0].velocities = []
    received = trajectory_from_message(message)
    assert received.stamp_s == 0.0
    assert [len(row) for row in received.velocities] == [0, 1]
    assert received.accelerations is None


def test_ground_truth_survives_the_round_trip():
    message = ground_truth_to_message(TRUTH, 4.5, "base_link")
    assert ground_truth_from_message(message) == TRUTH


def test_ground_truth_shows_every_object_where_it_is():
    message = ground_truth_to_message(TRUTH, 4.5, "base_link")
    cube = next(marker for marker in message.markers if marker.ns == "red cube")
    assert (cube.pose.position.x, cube.pose.position.y, cube.scale.x) == (0.4, -0.1, 0.04)
    assert cube.color.r == 1.0 and cube.color.g == 0.0
    assert {marker.header.frame_id for marker in message.markers} == {"base_link"}
    assert "tray" in [marker.ns for marker in message.markers]


def test_markers_without_ground_truth_are_refused():
    message = ground_truth_to_message(TRUTH, 4.5, "base_link")
    message.markers.pop()
    with pytest.raises(InvalidObservation, match="ground_truth"):
        ground_truth_from_message(message)


def test_camera_info_projects_as_the_matrix_says(robot):
    camera = robot.cameras[0]
    matrix = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
    message = camera_info_message(camera, matrix, 2.0)
    np.testing.assert_array_equal(np.reshape(message.k, (3, 3)), matrix)
    np.testing.assert_array_equal(np.reshape(message.p, (3, 4))[:, :3], matrix)
    assert (message.width, message.height, message.header.frame_id) == (
        camera.width,
        camera.height,
        camera.frame,
    )


def test_the_state_is_what_build_state_makes(robot, joint_state):
    expected = build_state(robot, joint_state.name, joint_state.position, 3.5)
    np.testing.assert_array_equal(state_from_message(robot, joint_state).positions, expected.positions)
