"""Datasets with a demonstrator's answers: chunks and grounding of their own, pictures held in memory."""

import shutil

import numpy as np
import pytest

from dexvla_model.data.datasets import DatasetChoice, joined, open_datasets
from dexvla_model.data.held_pictures import fit_in_memory
from dexvla_model.data.lerobot.combining import merge_datasets
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.validation import find_problems
from dexvla_model.data.recorded_frames import RecordedFrames
from dexvla_model.data.source import ConcatenatedFrames, later
from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot, parse_robot
from dexvla_model.training.data_config import read_datasets
from dexvla_model.yaml_reader import parse_yaml

UR5E = load_robot("ur5e")
CELLS = {"scene": 20, "wrist": 9}
EVERY = np.arange(7)


def made_up(seed: int, length: int, objects: int, success: bool = True) -> dict:
    rng = np.random.default_rng(seed)
    sizes = {camera.role: (camera.model_height, camera.model_width, 3) for camera in UR5E.cameras}
    return {
        "images": {role: rng.integers(0, 255, (length, *size), np.uint8) for role, size in sizes.items()},
        "state": rng.normal(size=(length, 7)).astype(np.float32),
        "chunks": rng.normal(size=(length, 4, 7)).astype(np.float32),
        "grounding": {
            role: rng.integers(0, 255, (length, objects, cells), np.uint8) for role, cells in CELLS.items()
        },
        "sub_steps": [f"step {index}" for index in range(length)],
        "instruction": f"instruction {seed}",
        "success": success,
    }


EPISODES = [made_up(3, 5, 2), made_up(7, 2, 2, success=False)]


def whole(kind: str, role: str | None = None) -> np.ndarray:
    return np.concatenate([episode[kind] if role is None else episode[kind][role] for episode in EPISODES])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_demonstrations):
    return write_demonstrations(tmp_path_factory.mktemp("labels") / "data", UR5E, ("cube", "tray"), EPISODES)


@pytest.fixture
def other(tmp_path, write_demonstrations):
    """Of another task, one of whose objects is known there too."""
    return write_demonstrations(tmp_path / "other", UR5E, ("plate", "cube"), [made_up(1, 3, 2)])


def test_frames_have_the_demonstrator_s_own_chunks_and_grounding(dataset):
    frames = RecordedFrames(dataset, UR5E, horizon=None)
    assert (len(frames), frames.horizon, frames.objects) == (7, 4, ("cube", "tray"))
    chunks, is_pad = frames.chunks_of(EVERY)
    assert is_pad is None, "a demonstrator's chunk does not end with the episode"
    np.testing.assert_array_equal(chunks, whole("chunks"))
    pairs, _ = frames.chunks_of(EVERY[:6].reshape(3, 2))
    np.testing.assert_array_equal(pairs, whole("chunks")[:6].reshape(3, 2, 4, 7))
    seen = np.concatenate([whole("grounding", "scene"), whole("grounding", "wrist")], axis=2)
    np.testing.assert_array_equal(frames.grounding_of(EVERY[::-1]), seen[::-1])
    assert frames.sub_steps_of(EVERY)[4:6] == ["step 4", "step 0"]
    assert later(frames, np.array([1, 4]), np.array([9, 1])).tolist() == [4, 4]
    assert find_problems(dataset, every_frame=True) == []


def test_action_is_the_chunk_s_first_row_after_the_state(dataset):
    np.testing.assert_array_equal(DatasetReader(dataset).columns(["action"])["action"], whole("chunks")[:, 1])


def test_pictures_are_as_they_were_rendered_and_the_same_out_of_memory(dataset):
    reported = []
    held = RecordedFrames(dataset, UR5E, 4, in_memory=True, progress=lambda *done: reported.append(done))
    read_now = RecordedFrames(dataset, UR5E, 4, in_memory=False)
    chosen = np.array([6, 0, 3])
    for role in CELLS:
        np.testing.assert_array_equal(held.images_of(chosen)[role], whole("images", role)[chosen])
        np.testing.assert_array_equal(read_now.images_of(chosen)[role], whole("images", role)[chosen])
    assert reported[-1] == (14, 14), "two cameras of seven frames"


def test_held_pictures_are_those_of_the_episodes_that_were_chosen(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "data")
    frames = RecordedFrames(tmp_path / "data", UR5E, 4, only_success=True, in_memory=True)
    shutil.rmtree(tmp_path / "data")
    assert len(frames) == 5
    np.testing.assert_array_equal(frames.images_of(np.array([4]))["wrist"], whole("images", "wrist")[4:5])


def test_pictures_are_held_where_they_take_no_more_than_a_quarter_of_the_free_memory(monkeypatch):
    from dexvla_model.data import held_pictures

    class Free:
        available = 4 * 10 * 3 * (140 * 112 + 84 * 84)

    monkeypatch.setattr(held_pictures.psutil, "virtual_memory", lambda: Free)
    assert fit_in_memory(10, UR5E) and not fit_in_memory(11, UR5E)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert not fit_in_memory(10, UR5E)


def test_video_shows_the_same_as_images(tmp_path, write_demonstrations):
    smooth = made_up(3, 3, 2)
    for role, views in smooth["images"].items():
        ramp = np.linspace(0, 255, views.shape[2]).astype(np.uint8)
        smooth["images"][role] = np.broadcast_to(ramp[:, None], views.shape)
    folder = write_demonstrations(tmp_path / "video", UR5E, ("cube", "tray"), [smooth], as_video=True)
    frames = RecordedFrames(folder, UR5E, 4, in_memory=True)
    shown = frames.images_of(np.arange(3))["scene"].astype(int)
    assert np.abs(shown - smooth["images"]["scene"]).mean() < 3


def test_objects_of_several_tasks_are_united_by_name(dataset, other):
    frames = joined(open_datasets([DatasetChoice(dataset), DatasetChoice(other)], UR5E))
    assert frames.objects == ("cube", "tray", "plate")
    seen = frames.grounding_of(np.array([0, 7]))
    first = np.concatenate([EPISODES[0]["grounding"][role][0] for role in CELLS], axis=1)
    np.testing.assert_array_equal(seen[0], [*first, np.zeros(29)])
    second = np.concatenate([made_up(1, 3, 2)["grounding"][role][0] for role in CELLS], axis=1)
    np.testing.assert_array_equal(seen[1], [second[1], np.zeros(29), second[0]])


def test_grounding_is_left_out_beside_frames_without_any(dataset, recorded):
    frames = joined(open_datasets([DatasetChoice(recorded), DatasetChoice(dataset)], UR5E))
    assert frames.horizon == 4, "the demonstrations' horizon is taken over"
    assert frames.objects == () and frames.grounding_of(np.array([0, 30])) is None
    _, is_pad = frames.chunks_of(np.array([10, 28]))
    assert is_pad.tolist() == [[False, False, True, True], [False] * 4]


def test_a_shorter_horizon_takes_the_first_rows_and_a_longer_one_is_refused(dataset):
    chunks, _ = RecordedFrames(dataset, UR5E, 2).chunks_of(EVERY)
    np.testing.assert_array_equal(chunks, whole("chunks")[:, :2])
    with pytest.raises(UserError, match="have 4 rows there, but the model has 8.*at most 4"):
        RecordedFrames(dataset, UR5E, 8)


def test_merging_keeps_the_labels_and_other_objects_are_not_merged(dataset, other, tmp_path):
    merge_datasets([DatasetReader(dataset), DatasetReader(dataset)], tmp_path / "both")
    frames = RecordedFrames(tmp_path / "both", UR5E, None)
    np.testing.assert_array_equal(frames.chunks_of(EVERY + 7)[0], whole("chunks"))
    assert ConcatenatedFrames([frames]).objects == ("cube", "tray")
    with pytest.raises(UserError, match="for grounding.scene the names"):
        merge_datasets([DatasetReader(dataset), DatasetReader(other)], tmp_path / "mixed")


def test_a_dataset_of_another_robot_is_refused(dataset):
    hand = parse_robot(UR5E.text.replace("role: wrist", "role: hand"), UR5E.path)
    with pytest.raises(UserError, match="camera roles"):
        RecordedFrames(dataset, hand, 4)


def test_a_cut_off_file_is_named(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "data")
    path = tmp_path / "data/data/chunk-000/file-000.parquet"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="file-000.parquet.*cannot be read"):
        open_datasets([DatasetChoice(tmp_path / "data")], UR5E)


def test_the_training_file_says_whether_pictures_are_held(tmp_path):
    text = "datasets: [a, {folder: b, in_memory: true}, {folder: c, in_memory: false}]"
    choices = read_datasets(parse_yaml(text, tmp_path / "training.yaml"))
    assert [choice.in_memory for choice in choices] == [None, True, False]
