"""Demonstrations on disk, and the order in which training takes their frames."""

import numpy as np
import pytest

from dexvla_model.data.demonstrations import Episode, create_dataset, has_episode, open_dataset, read_episode, write_episode
from dexvla_model.data.frames import load_frames
from dexvla_model.data.order import FrameOrder
from dexvla_model.data.source import later
from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot, parse_robot

UR5E = load_robot("ur5e")


def make_episode(seed: int, length: int, horizon: int = 4) -> Episode:
    rng = np.random.default_rng(seed)
    images = {
        camera.role: rng.integers(0, 255, (length, camera.model_height, camera.model_width, 3), dtype=np.uint8)
        for camera in UR5E.cameras
    }
    return Episode(
        images=images,
        state=rng.normal(size=(length, 7)).astype(np.float32),
        action_chunks=rng.normal(size=(length, horizon, 7)).astype(np.float32),
        grounding={
            camera.role: rng.integers(
                0, 255, (length, 2, camera.model_height * camera.model_width // 28**2), dtype=np.uint8
            )
            for camera in UR5E.cameras
        },
        sub_steps=[f"step {index}" for index in range(length)],
        instruction=f"instruction {seed}",
        seed=seed,
        success=True,
    )


@pytest.fixture
def dataset(tmp_path):
    create_dataset(tmp_path / "data", UR5E, "pick_place", horizon=4, objects=("cube", "tray"))
    for seed, length in ((3, 5), (7, 2)):
        write_episode(tmp_path / "data", make_episode(seed, length))
    return tmp_path / "data"


def test_an_episode_comes_back_as_it_was_written(dataset):
    index = open_dataset(dataset)
    read, written = read_episode(dataset, index.episodes[0]), make_episode(3, 5)
    np.testing.assert_array_equal(read.images["scene"], written.images["scene"])
    np.testing.assert_array_equal(read.action_chunks, written.action_chunks)
    assert (read.sub_steps, read.instruction, read.seed, read.success) == (
        written.sub_steps, written.instruction, 3, True)
    assert has_episode(dataset, 3) and not has_episode(dataset, 4)


def test_frames_of_all_episodes_stand_behind_each_other(dataset):
    frames = load_frames([dataset], UR5E)
    assert len(frames) == 7 and frames.horizon == 4
    assert frames.instructions == ["instruction 3"] * 5 + ["instruction 7"] * 2
    assert frames.sub_steps[5] == "step 0"
    assert frames.grounding.shape == (7, 2, 20 + 9)


def test_a_later_frame_never_comes_from_another_episode(dataset):
    frames = load_frames([dataset], UR5E)
    np.testing.assert_array_equal(later(frames, np.array([1, 2, 4, 5]), np.array([2, 5, 1, 1])), [3, 4, 4, 6])


def test_making_a_dataset_again_goes_on_with_it(dataset):
    create_dataset(dataset, UR5E, "pick_place", horizon=4, objects=("cube", "tray"))
    assert len(open_dataset(dataset).episodes) == 2


def test_a_dataset_with_another_horizon_is_not_mixed_in(dataset):
    with pytest.raises(UserError, match="horizon"):
        create_dataset(dataset, UR5E, "pick_place", horizon=8, objects=("cube", "tray"))


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is no dataset"):
        create_dataset(tmp_path, UR5E, "pick_place", horizon=4, objects=("cube", "tray"))


def test_a_missing_dataset_is_answered_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(UserError, match="dexvla demonstrate"):
        load_frames([tmp_path / "none"], UR5E)


def test_an_empty_dataset_is_named(tmp_path):
    create_dataset(tmp_path / "empty", UR5E, "pick_place", horizon=4, objects=("cube", "tray"))
    with pytest.raises(UserError, match="no episode"):
        load_frames([tmp_path / "empty"], UR5E)


def test_a_damaged_episode_is_named(dataset):
    path = dataset / "episodes" / open_dataset(dataset).episodes[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=path.name):
        load_frames([dataset], UR5E)


def test_a_dataset_of_another_robot_is_refused(dataset):
    other = parse_robot(UR5E.text.replace("role: wrist", "role: hand"), UR5E.path)
    with pytest.raises(UserError, match="camera roles"):
        load_frames([dataset], other)


def test_every_frame_is_taken_once_an_epoch():
    order = FrameOrder(frame_count=10, batch_size=5, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([order.batch(0), order.batch(1)])), np.arange(10))


def test_batches_that_straddle_epochs_are_full():
    order = FrameOrder(frame_count=7, batch_size=5, seed=0)
    taken = np.concatenate([order.batch(step) for step in range(7)])
    np.testing.assert_array_equal(np.bincount(taken), np.full(7, 5))


def test_the_order_depends_on_seed_and_step_alone():
    order = FrameOrder(100, 8, seed=3)
    expected = [order.batch(step) for step in range(30)]
    np.testing.assert_array_equal(FrameOrder(100, 8, seed=3).batch(29), expected[29])
    assert not np.array_equal(FrameOrder(100, 8, seed=4).batch(29), expected[29])
