"""Observations: joints are matched by name, images brought to the model's size, doubtful data refused."""

import numpy as np
import pytest

from dexvla_model.observation import (
    InvalidObservation,
    MissingJoint,
    build_observation,
    build_state,
    resize_image,
    select_joints,
)
from dexvla_model.robot import load_robot

UR5E = load_robot("ur5e")


def test_joints_are_matched_by_name_whatever_their_order():
    names = [*UR5E.state_joints, "another_joint"]
    values = np.arange(len(names), dtype=float)
    shuffled = np.random.default_rng(0).permutation(len(names))
    state = build_state(UR5E, [names[i] for i in shuffled], values[shuffled], stamp_s=1.0)
    np.testing.assert_array_equal(state.positions, values[:-1])


def test_a_missing_joint_is_named():
    with pytest.raises(MissingJoint, match="elbow_joint"):
        select_joints(["wrist_1_joint"], [0.0], ["wrist_1_joint", "elbow_joint"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(InvalidObservation, match="b has the value"):
        select_joints(["a", "b"], [0.0, value], ["a", "b"])


def test_a_joint_that_comes_twice_is_refused():
    with pytest.raises(InvalidObservation, match="twice"):
        select_joints(["a", "a"], [0.0, 1.0], ["a"])


def test_names_without_values_are_refused():
    with pytest.raises(InvalidObservation, match="2 joint names came with 1"):
        select_joints(["a", "b"], [0.0], ["a"])


def test_images_come_out_at_the_models_size():
    images = {camera.role: np.zeros((camera.height, camera.width, 3), np.uint8) for camera in UR5E.cameras}
    state = build_state(UR5E, UR5E.state_joints, UR5E.home_positions, 1.0)
    observation = build_observation(UR5E, 1.0, images, state)
    for camera in UR5E.cameras:
        assert observation.images[camera.role].shape == (camera.model_height, camera.model_width, 3)


def test_shrinking_averages_pixels():
    camera = UR5E.camera("wrist")
    checkerboard = (np.indices((camera.model_height * 4, camera.model_width * 4)).sum(0) % 2 * 255).astype(np.uint8)
    shrunk = resize_image(np.repeat(checkerboard[..., None], 3, axis=2), camera)
    assert np.abs(shrunk.astype(int) - 127).max() <= 2


def test_an_image_of_the_models_size_passes_unchanged():
    camera = UR5E.camera("wrist")
    image = np.random.default_rng(0).integers(0, 255, (camera.model_height, camera.model_width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_image(image, camera), image)


def test_a_missing_camera_is_named():
    state = build_state(UR5E, UR5E.state_joints, UR5E.home_positions, 1.0)
    with pytest.raises(InvalidObservation, match="scene"):
        build_observation(UR5E, 1.0, {}, state)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8)])
def test_a_malformed_image_is_refused(image):
    with pytest.raises(InvalidObservation, match="uint8"):
        resize_image(image, UR5E.camera("scene"))
