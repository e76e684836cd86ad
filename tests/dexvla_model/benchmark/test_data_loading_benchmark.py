"""The benchmark of data loading: what it measures is there and adds up. No speed is asserted."""

from dexvla_model.benchmark.data_loading import (
    benchmark_random_access,
    square_robot,
    write_benchmark_dataset,
)
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.validation import find_problems


def test_its_dataset_is_sound_and_smaller_than_the_pictures(tmp_path):
    robot = square_robot()
    assert {(camera.model_width, camera.model_height) for camera in robot.cameras} == {(224, 224)}
    size = write_benchmark_dataset(tmp_path / "dataset", robot, episodes=2, frames=6)
    assert size.raw_bytes >= 2 * 6 * len(robot.cameras) * 224 * 224 * 3
    assert size.dataset_bytes < size.raw_bytes
    assert find_problems(tmp_path / "dataset") == []
    assert DatasetReader(tmp_path / "dataset").total_frames == 12


def test_a_frame_costs_two_decodes_at_most(tmp_path):
    result = benchmark_random_access(tmp_path / "video", square_robot(), frames=40, accesses=20)
    assert 1.0 <= result.decoded <= 2.0
    assert result.median_ms > 0.0
