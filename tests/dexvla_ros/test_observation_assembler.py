"""Images and joint states are put together by their stamps."""

import numpy as np
import pytest

from dexvla_model.observation import RobotState
from dexvla_ros.observation_assembler import Capture, ObservationAssembler


@pytest.fixture
def assembler(robot) -> ObservationAssembler:
    return ObservationAssembler(robot, slop_s=0.04, stale_s=0.5)


def add_state(assembler, stamp_s: float) -> None:
    positions = np.full(len(assembler.robot.state_joints), stamp_s)
    # To whole nanoseconds, as a message has it.
    assembler.add_state(RobotState(round(stamp_s * 1e9) / 1_000_000_000, positions), f"state at {stamp_s:g}")


def add_image(assembler, role: str, stamp_s: float, value: int = 0) -> None:
    camera = assembler.robot.camera(role)
    image = np.full((camera.height, camera.width, 3), value, np.uint8)
    assembler.add_capture(role, Capture(round(stamp_s * 1e9), camera.frame, lambda: image))


def test_an_observation_has_every_camera_at_the_models_size_and_the_nearest_state(assembler, robot):
    for stamp_s in (0.98, 0.99, 1.0, 1.01, 1.02):
        add_state(assembler, stamp_s)
    add_image(assembler, "scene", 1.0, 10)
    add_image(assembler, "wrist", 1.01, 20)
    matched = assembler.take()
    assert matched.observation.stamp_s == 1.01
    assert matched.observation.state.stamp_s == 1.01
    assert matched.source == "state at 1.01"
    for camera, value in zip(robot.cameras, (10, 20)):
        image = matched.observation.images[camera.role]
        assert image.shape == (camera.model_height, camera.model_width, 3)
        assert (image == value).all()


def test_the_state_is_the_newest_before_the_images_whichever_arrives_first(assembler):
    add_state(assembler, 0.99)
    add_image(assembler, "scene", 1.0)
    add_image(assembler, "wrist", 1.0)
    assert assembler.take() is None  # a state between 0.99 and 1.0 may still be on its way
    add_state(assembler, 0.998)
    add_state(assembler, 1.001)
    matched = assembler.take()
    assert matched.source == "state at 0.998"
    assert matched.stamp_ns == 1_000_000_000


def test_an_image_that_is_not_used_is_not_decoded(assembler):
    def refuse():
        raise AssertionError("decoded")

    add_state(assembler, 1.1)
    assembler.add_capture("scene", Capture(1_000_000_000, "frame", refuse))
    add_image(assembler, "scene", 1.1, 7)
    add_image(assembler, "wrist", 1.1)
    assert (assembler.take().images["scene"] == 7).all()


def test_nothing_is_made_until_every_camera_has_come(assembler):
    add_state(assembler, 1.0)
    add_image(assembler, "scene", 1.0)
    assert assembler.take() is None


def test_images_further_apart_than_the_slop_are_not_mixed(assembler):
    add_state(assembler, 1.0)
    add_image(assembler, "scene", 1.0)
    add_image(assembler, "wrist", 1.05)
    assert assembler.take() is None


def test_a_late_camera_is_matched_with_the_older_image_of_the_other(assembler):
    add_state(assembler, 1.0)
    add_state(assembler, 1.1)
    add_image(assembler, "scene", 1.0, 1)
    add_image(assembler, "scene", 1.1, 2)
    add_image(assembler, "wrist", 1.0, 3)
    matched = assembler.take()
    assert matched.observation.stamp_s == 1.0
    assert (matched.observation.images["scene"] == 1).all()


def test_a_state_further_away_than_the_slop_does_not_count(assembler):
    add_state(assembler, 0.9)
    add_image(assembler, "scene", 1.0)
    add_image(assembler, "wrist", 1.0)
    assert assembler.take() is None


def test_each_observation_is_made_once(assembler):
    add_state(assembler, 1.0)
    add_image(assembler, "scene", 1.0)
    add_image(assembler, "wrist", 1.0)
    assert assembler.take() is not None
    assert assembler.take() is None


def test_cameras_faster_than_the_observation_rate_are_thinned_out(assembler):
    made = 0
    for number in range(60):
        stamp_s = 1.0 + number / 30.0
        add_state(assembler, stamp_s)
        add_image(assembler, "scene", stamp_s)
        add_image(assembler, "wrist", stamp_s)
        made += assembler.take() is not None
    # 2 s at 10 Hz, with cameras that are taken for 10 Hz ones and so may be half a period early.
    assert made == 30


def test_jitter_of_cameras_at_the_observation_rate_loses_nothing(assembler):
    generator = np.random.default_rng(0)
    made = 0
    for number in range(50):
        stamp_s = 1.0 + number / 10.0 + generator.uniform(-0.01, 0.01)
        add_state(assembler, stamp_s)
        add_image(assembler, "scene", stamp_s)
        add_image(assembler, "wrist", stamp_s)
        made += assembler.take() is not None
    assert made == 50


def test_problems_name_what_has_not_come(assembler):
    add_state(assembler, 1.0)
    add_image(assembler, "scene", 1.0)
    assert assembler.problems(1.1) == ["nothing has come from the camera wrist"]


def test_problems_name_what_is_stale(assembler):
    for stamp_s in (1.0, 1.9):
        add_state(assembler, stamp_s)
        add_image(assembler, "scene", stamp_s)
    add_image(assembler, "wrist", 1.0)
    assert assembler.problems(2.0) == ["the newest message from the camera wrist is 1.00 s old"]


def test_cameras_that_never_agree_are_a_problem(assembler):
    add_state(assembler, 1.0)
    add_image(assembler, "scene", 1.0)
    add_image(assembler, "wrist", 1.06)
    assembler.take()
    assert "slop_s" in assembler.problems(1.1)[0]


def test_there_is_no_problem_while_observations_are_made(assembler):
    add_state(assembler, 1.0)
    add_image(assembler, "scene", 1.0)
    add_image(assembler, "wrist", 1.0)
    assembler.take()
    assert assembler.problems(1.1) == []


def test_a_clock_that_is_set_back_begins_anew(assembler):
    add_state(assembler, 100.0)
    add_image(assembler, "scene", 100.0)
    add_image(assembler, "wrist", 100.0)
    assembler.take()
    add_state(assembler, 1.0)
    add_image(assembler, "scene", 1.0)
    add_image(assembler, "wrist", 1.0)
    assert assembler.take().observation.stamp_s == 1.0
