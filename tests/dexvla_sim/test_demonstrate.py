"""Recording demonstrations: a dataset that says at every frame what the demonstrator would do."""

import numpy as np
import pytest

from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.staging import EpisodeStage
from dexvla_model.data.lerobot.validation import find_problems
from dexvla_model.data.recorded_frames import RecordedFrames
from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot
from dexvla_sim import demonstrate
from dexvla_sim.demonstrate import DemonstrationJob, record_demonstrations

UR5E = load_robot("ur5e")


@pytest.fixture
def in_process(monkeypatch):
    """Episodes in this process, so that a test can interrupt them."""

    def run(processes, start, job, record, places):
        start(job)
        yield from map(record, places)

    monkeypatch.setattr(demonstrate, "run_episodes", run)


def job(folder, **changes) -> DemonstrationJob:
    options = {"disturb": False, "timeout_s": 0.3} | changes
    return DemonstrationJob("ur5e", "pick_place", folder / "data", **options)


def test_processes_write_one_dataset_in_the_order_of_the_seeds(tmp_path):
    reported = []
    recorded = record_demonstrations(
        job(tmp_path, timeout_s=0.5), [100, 101], processes=2, finishing=lambda *done: reported.append(done)
    )
    assert [(episode.frames, episode.kept) for episode in recorded] == [(5, True)] * 2
    reader = DatasetReader(tmp_path / "data")
    assert [episode.source for episode in reader.episodes] == ["pick_place 100", "pick_place 101"]
    assert [episode.success for episode in reader.episodes] == [False, False]
    assert find_problems(tmp_path / "data", every_frame=True) == []
    assert reported[-1] == (1, 1)
    frames = RecordedFrames(tmp_path / "data", UR5E, None)
    every = np.arange(10)
    chunks, _ = frames.chunks_of(every)
    states = frames.states_of(every)
    assert chunks.shape == (10, 16, 7)
    np.testing.assert_allclose(chunks[:, 0], states, atol=1e-5, err_msg="a chunk begins where the robot is")
    action = reader.columns(["action"])["action"]
    np.testing.assert_array_equal(action, chunks[:, 1])
    assert np.abs(action - states)[4].max() > 1e-3, "the action moves the robot on"
    assert frames.objects == ("red cube", "green cube", "blue cube", "yellow cube", "tray")
    assert frames.grounding_of(every).max(axis=(0, 2))[-1] > 8, "the tray is in the picture"
    assert frames.sub_steps_of(every)[0].startswith("move above the")
    assert frames.images_of(every[:2])["scene"].shape == (2, 112, 140, 3)


def test_what_is_there_is_left_alone_and_the_rest_added(tmp_path, in_process):
    record_demonstrations(job(tmp_path), [100], processes=1)
    assert [episode.seed for episode in record_demonstrations(job(tmp_path), [100, 101], 1)] == [101]
    assert record_demonstrations(job(tmp_path), [100, 101], 1) == []
    assert [episode.source for episode in DatasetReader(tmp_path / "data").episodes] == [
        "pick_place 100",
        "pick_place 101",
    ]


def test_an_interrupted_recording_goes_on(tmp_path, in_process):
    def stop(episode):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_demonstrations(job(tmp_path), [100, 101], 1, progress=stop)
    with pytest.raises(UserError, match="unfinished; give the command that wrote it again"):
        DatasetReader(tmp_path / "data")
    assert [episode.seed for episode in record_demonstrations(job(tmp_path), [100, 101], 1)] == [101]
    assert len(DatasetReader(tmp_path / "data").episodes) == 2


def test_an_episode_in_which_the_robot_is_stuck_is_left_out(tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(demonstrate, "_MOST_REFUSALS", -1)
    recorded = record_demonstrations(job(tmp_path), [100], 1)
    assert [(episode.kept, episode.frames) for episode in recorded] == [(False, 0)]
    assert DatasetReader(tmp_path / "data").episodes == []


def test_a_dataset_of_another_kind_is_not_gone_on_with(tmp_path, in_process):
    record_demonstrations(job(tmp_path), [100], 1)
    with pytest.raises(UserError, match="the dataset there has for observation.images.scene the dtype image"):
        record_demonstrations(job(tmp_path, as_video=True), [101], 1)
    fr3 = DemonstrationJob("fr3", "pick_place", tmp_path / "data")
    with pytest.raises(UserError, match="name another folder"):
        record_demonstrations(fr3, [101], 1)


def test_a_full_disk_is_said_and_what_was_finished_is_kept(tmp_path, in_process, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        with pytest.raises(UserError, match="the disk is full.*same command again"):
            record_demonstrations(
                job(tmp_path), [100, 101], 1, progress=lambda _: patch.setattr(EpisodeStage, "write_rows", full)
            )
    assert [episode.seed for episode in record_demonstrations(job(tmp_path), [100, 101], 1)] == [101]


def test_a_task_without_objects_has_no_grounding(tmp_path, in_process):
    posture = DemonstrationJob("ur5e", "posture", tmp_path / "data", disturb=False, timeout_s=0.2)
    record_demonstrations(posture, [100], 1)
    frames = RecordedFrames(tmp_path / "data", UR5E, None)
    assert frames.objects == () and frames.grounding_of(np.arange(2)) is None
    assert frames.chunks_of(np.arange(2))[0].shape == (2, 16, 7)
