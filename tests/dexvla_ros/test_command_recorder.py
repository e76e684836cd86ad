"""The recording of the controllers' commands."""

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_ros.command_recorder import CommandRecorder, load_recording


@pytest.mark.parametrize("name", ["commands.npz", "commands"])
def test_a_recording_holds_every_command_and_where_episodes_start(tmp_path, name):
    recorder = CommandRecorder(tmp_path / "deep" / name, ("a", "b"))
    commands = np.random.default_rng(0).normal(size=(5, 3, 2))
    for number, command in enumerate(commands):
        if number == 2:
            recorder.add_seam()
        if number == 3:
            recorder.start_episode()
        recorder.add(number * 0.002, command)
    recorder.save()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == [name]
    recording = load_recording(tmp_path / "deep" / name)
    assert list(recording["joints"]) == ["a", "b"]
    assert list(recording["episode_starts"]) == [0, 3]
    assert list(recording["seams"]) == [2]
    np.testing.assert_array_equal(recording["positions_rad"], commands[:, 0])
    np.testing.assert_array_equal(recording["velocities_rad_s"], commands[:, 1])
    np.testing.assert_array_equal(recording["accelerations_rad_s2"], commands[:, 2])


def test_a_recording_without_a_command_can_be_read(tmp_path):
    CommandRecorder(tmp_path / "commands.npz", ("a",)).save()
    assert load_recording(tmp_path / "commands.npz")["positions_rad"].shape == (0, 1)


def test_a_file_that_cannot_be_written_is_named_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="record_commands .*commands.npz.*name another"):
        CommandRecorder(tmp_path / "file" / "commands.npz", ("a",))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_recording_that_was_cut_off_is_said_in_a_sentence(tmp_path, share):
    file = tmp_path / "commands.npz"
    CommandRecorder(file, ("a",)).save()
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="commands.npz: the recording is not complete .*record again"):
        load_recording(file)
