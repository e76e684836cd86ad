"""Datasets of others mapped onto one of our robots: LeRobot's own, and the published code's HDF5 episodes."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image

from dexvla_model.data.importing.from_hdf5 import Hdf5Source, find_episodes
from dexvla_model.data.importing.from_lerobot import LeRobotSource, resampled
from dexvla_model.data.importing.mapping import load_mapping
from dexvla_model.data.importing.pipeline import import_episodes
from dexvla_model.data.lerobot import DatasetSpecification, SubStepMark
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.validation import find_problems
from dexvla_model.errors import UserError

MAPPING = """
state: &joints
  shoulder_pan_joint: m2
  shoulder_lift_joint: {from: 0, scale: 2.0, offset: 1.0}
  elbow_joint: m1
  wrist_1_joint: m0
  wrist_2_joint: m0
  wrist_3_joint: m0
  robotiq_85_left_knuckle_joint: m0
action: *joints
cameras: {scene: observation.images.top, wrist: observation.images.still}
"""


@pytest.fixture
def mapping(tmp_path, ur5e):
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING)
    return load_mapping(path, ur5e)


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_a_lerobot_dataset_becomes_one_of_our_robot_s(
    tmp_path, foreign_builder, ur5e, mapping, stripes, version
):
    _, number_in = stripes
    source_folder = foreign_builder(tmp_path / "theirs", version=version)
    source = LeRobotSource(source_folder, "ur5e", mapping)
    specification = DatasetSpecification.of_robot(ur5e, 10, source.sizes(ur5e))
    info = import_episodes(source, specification, tmp_path / "ours", processes=1)
    assert (info.total_episodes, info.total_frames) == (2, 19)
    reader = DatasetReader(tmp_path / "ours")
    from dexvla_model.data.lerobot.legacy import open_any_version

    theirs = open_any_version(source_folder).columns(["observation.state"])["observation.state"]
    ours = reader.columns(["observation.state"])["observation.state"]
    np.testing.assert_array_equal(ours[:, 0], theirs[:, 2])
    np.testing.assert_allclose(ours[:, 1], theirs[:, 0] * 2 + 1, rtol=1e-6)
    images = Pictures(reader).get("observation.images.scene", [0, 14])
    assert [number_in(image) for image in images] == [0, 14]
    assert [episode.tasks for episode in reader.episodes] == [("pour",), ("stir",)]
    assert find_problems(tmp_path / "ours", every_frame=True) == []
    again = import_episodes(source, specification, tmp_path / "ours", processes=1)
    assert again.total_episodes == 2, "what is there already is not imported again"


def test_a_rate_is_changed_by_what_was_newest(tmp_path, recorded, ur5e, stripes):
    _, number_in = stripes
    source = LeRobotSource(recorded, "ur5e")
    import_episodes(source, DatasetSpecification.of_robot(ur5e, 4), tmp_path / "slow", processes=1)
    reader = DatasetReader(tmp_path / "slow")
    assert [episode.length for episode in reader.episodes] == [5, 4, 3]
    images = Pictures(reader).get("observation.images.wrist", range(5))
    assert [number_in(image) for image in images] == [0, 2, 5, 7, 10]
    assert reader.sub_steps()[0][1].text == "grasp"
    assert reader.episodes[1].success is False


@pytest.mark.parametrize(
    ("length", "from_fps", "to_fps", "expected"),
    [(4, 10, 10, [0, 1, 2, 3]), (7, 30, 10, [0, 3, 6]), (3, 10, 20, [0, 0, 1, 1, 2]), (1, 10, 30, [0])],
)
def test_resampling(length, from_fps, to_fps, expected):
    assert resampled(length, from_fps, to_fps).tolist() == expected


def test_what_the_mapping_lacks_is_named(tmp_path, foreign, ur5e):
    source = LeRobotSource(foreign, "ur5e")
    with pytest.raises(UserError, match="no camera observation.images.scene.*--mapping"):
        source.sizes(ur5e)
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING.replace("m2", "m9"))
    with pytest.raises(UserError, match="shoulder_pan_joint is mapped to 'm9', but found are m0, m1, m2"):
        LeRobotSource(foreign, "ur5e", load_mapping(path, ur5e)).read(0, ur5e, 10)
    path.write_text(MAPPING.replace("elbow_joint: m1", "knee_joint: m1"))
    with pytest.raises(UserError, match="knee_joint is no known key"):
        load_mapping(path, ur5e)
    with pytest.raises(
        UserError, match="nothing in state is known to be the robot's joint shoulder_pan_joint"
    ):
        path.write_text("cameras: {scene: observation.images.top, wrist: observation.images.still}\n")
        LeRobotSource(foreign, "ur5e", load_mapping(path, ur5e)).read(0, ur5e, 10)


def hdf5_episode(path, frames=6, compress=False, sim=False, text_shape="array", reasonings=True, width=7):
    colour = np.zeros((frames, 60, 80, 3), np.uint8)
    colour[..., 0], colour[..., 2] = 200, 40
    with h5py.File(path, "w") as file:
        file.attrs["sim"] = sim
        file["action"] = np.arange(frames * width, dtype=np.float32).reshape(frames, width)
        file["observations/qpos"] = np.full((frames, width), 0.5, np.float32)
        file["observations/qvel"] = np.zeros((frames, width), np.float32)
        for camera in ("scene", "wrist"):
            if compress:
                file.attrs["compress"] = True
                encoded = []
                for image in colour:
                    buffer = io.BytesIO()
                    # As OpenCV does it: it takes the first channel for blue.
                    Image.fromarray(image[:, :, ::-1]).save(buffer, "JPEG", quality=95)
                    encoded.append(np.frombuffer(buffer.getvalue(), np.uint8))
                longest = max(map(len, encoded)) + 7
                padded = np.stack([np.pad(one, (0, longest - len(one))) for one in encoded])
                file[f"observations/images/{camera}"] = padded
            else:
                file[f"observations/images/{camera}"] = colour
        file["language_raw"] = [b"fold the shirt"] if text_shape == "array" else "fold the shirt"
        if reasonings:
            file["substep_reasonings"] = [b"grasp"] * (frames // 2) + [b"fold"] * (frames - frames // 2)


@pytest.mark.parametrize(("compress", "text_shape"), [(False, "array"), (True, "scalar")])
def test_an_hdf5_episode_becomes_a_dataset(tmp_path, ur5e, compress, text_shape):
    hdf5_episode(tmp_path / "episode_0.hdf5", compress=compress, text_shape=text_shape)
    source = Hdf5Source(find_episodes([tmp_path]), "ur5e", fps=10)
    specification = DatasetSpecification.of_robot(ur5e, 10, source.sizes(ur5e))
    import_episodes(source, specification, tmp_path / "ours", processes=1)
    reader = DatasetReader(tmp_path / "ours")
    assert reader.tasks == {0: "fold the shirt"}
    assert reader.sub_steps()[0] == [SubStepMark(0.0, "grasp"), SubStepMark(pytest.approx(0.3), "fold")]
    # Of real robots the published loader takes the action of the row before.
    assert reader.columns(["action"])["action"][:, 0].tolist() == [0, 0, 7, 14, 21, 28]
    red, _, blue = Pictures(reader).get("observation.images.scene", [3])[0].mean(axis=(0, 1))
    assert red > 180 and blue < 60
    assert find_problems(tmp_path / "ours") == []


def test_simulated_actions_stand_where_they_are(tmp_path, ur5e):
    hdf5_episode(tmp_path / "episode_0.hdf5", sim=True)
    episode = Hdf5Source((tmp_path / "episode_0.hdf5",), "ur5e", fps=10).read(0, ur5e, 10)
    assert episode.action[:, 0].tolist() == [0, 7, 14, 21, 28, 35]


def test_a_broken_hdf5_episode_is_named(tmp_path, ur5e):
    (tmp_path / "bad.hdf5").write_bytes(b"not HDF5")
    with pytest.raises(UserError, match="bad.hdf5: this is no readable HDF5 episode"):
        Hdf5Source((tmp_path / "bad.hdf5",), "ur5e", 10).read(0, ur5e, 10)
    hdf5_episode(tmp_path / "wide.hdf5", width=14)
    with pytest.raises(UserError, match="joint shoulder_pan_joint .found: 14 columns without names"):
        Hdf5Source((tmp_path / "wide.hdf5",), "ur5e", 10).read(0, ur5e, 10)
    with h5py.File(tmp_path / "empty.hdf5", "w") as file:
        file["action"] = np.zeros((3, 7))
    with pytest.raises(UserError, match="there is no /observations/qpos"):
        Hdf5Source((tmp_path / "empty.hdf5",), "ur5e", 10).read(0, ur5e, 10)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no file that ends in .hdf5"):
        find_episodes([tmp_path / "nothing"])
