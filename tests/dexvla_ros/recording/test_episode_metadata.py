"""What an episode says of itself survives the way through a bag, and damage is named."""

import hashlib
from dataclasses import replace

import pytest

from dexvla_model.errors import UserError
from dexvla_ros.recording.bag_metadata import write_bag_metadata
from dexvla_ros.recording.episode_metadata import EpisodeMetadata, SubStepMark, read_episode_metadata


@pytest.fixture
def full(metadata) -> EpisodeMetadata:
    return replace(
        metadata,
        operator="Jürgen: \"the\" 1st\n",
        tags=("day 1", "ärger"),
        outcome="success",
        ending="The operator called it a success.",
        sub_steps=(SubStepMark(5, "align the sleeve"), SubStepMark(9, "пуск")),
        ended_ns=2**62,
        sim_time=True,
        drops={"/tf": 3},
    )


def test_it_comes_back_from_custom_data_as_it_was(full):
    values = full.to_custom_data()
    assert all(type(key) is str and type(value) is str for key, value in values.items())
    assert EpisodeMetadata.from_custom_data(values, "bag") == full


def test_it_comes_back_from_a_bag_with_the_robot_file_to_the_letter(full, tmp_path, robot):
    text = robot.text + "# trailing blanks   \n\ttab: and colons\n\n"
    full = replace(full, robot_file=text)
    write_bag_metadata(tmp_path, [], [], full.to_custom_data())
    found = read_episode_metadata(tmp_path)
    assert found == full
    assert found.robot_file == text
    assert found.robot_file_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_bag_of_another_program_has_none(tmp_path):
    write_bag_metadata(tmp_path, [], [], {})
    assert read_episode_metadata(tmp_path) is None


def test_a_bag_that_was_cut_off_says_how_to_repair_it(tmp_path):
    with pytest.raises(UserError, match="dexvla record --repair"):
        read_episode_metadata(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "other: 1\n"])
def test_what_is_no_bag_metadata_is_named(tmp_path, text):
    (tmp_path / "metadata.yaml").write_text(text)
    with pytest.raises(UserError, match=f"{tmp_path}.*no metadata of a rosbag2 directory"):
        read_episode_metadata(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": "99"}, "format_version 99"),
        ({"outcome": "great"}, "outcome is 'great' .allowed: success, failure, unjudged"),
        ({"robot_file": "name: other\n"}, "robot_file_sha256"),
        ({"tags": "{"}, "damaged"),
        ({"sub_steps": '[{"text": "a"}]'}, "'time_ns' is missing"),
        ({"started_ns": "soon"}, "damaged"),
        ({"drops": "[]"}, "damaged"),
    ],
)
def test_damage_is_named(full, change, message):
    with pytest.raises(UserError, match=message):
        EpisodeMetadata.from_custom_data(full.to_custom_data() | change, "bag")


def test_a_missing_key_is_named(full):
    values = full.to_custom_data()
    del values["instruction"]
    with pytest.raises(UserError, match="bag: the key 'instruction' is missing"):
        EpisodeMetadata.from_custom_data(values, "bag")
