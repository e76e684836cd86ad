"""What the demo makes without a graph: its video and its figures."""

import av
import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_ros.demo.outcome import EpisodeOutcome, summarise
from dexvla_ros.demo.video import EpisodeVideo


def frames_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def images(robot) -> dict[str, np.ndarray]:
    return {
        camera.role: np.full((camera.height, camera.width, 3), value, np.uint8)
        for camera, value in zip(robot.cameras, (60, 200))
    }


def test_a_video_shows_all_cameras_side_by_side_with_the_text_below(tmp_path, robot, images):
    video = EpisodeVideo(tmp_path / "deep" / "episode.mp4", robot.cameras, "put the red cube in the tray")
    for number in range(10):
        for role in ("wrist", "scene"):
            video.add(role, 5.0 + number * 0.1, images[role])
        if number == 4:
            video.say("grasp the red cube")
    video.close()
    frames = frames_of(video.path)
    assert len(frames) == 10
    scene, wrist = robot.cameras
    assert frames[0].shape[1] == scene.width + wrist.width
    assert abs(int(frames[0][100, 100].mean()) - 60) < 5
    assert abs(int(frames[0][100, scene.width + 100].mean()) - 200) < 5
    band = slice(scene.height + 32, None)
    assert frames[9][band].max() > 200
    assert frames[0][band].max() < 100


def test_an_image_that_was_lost_leaves_a_gap_in_time_and_no_shift(tmp_path, robot, images):
    video = EpisodeVideo(tmp_path / "episode.mp4", robot.cameras, "x")
    for stamp_s in (1.0, 1.1, 1.4):
        for role in ("wrist", "scene"):
            video.add(role, stamp_s, images[role])
    video.close()
    with av.open(str(video.path)) as container:
        times_s = [float(frame.time) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times_s, [0.0, 0.1, 0.4], atol=1e-3)


def test_a_video_without_a_frame_is_not_kept(tmp_path, robot):
    video = EpisodeVideo(tmp_path / "episode.mp4", robot.cameras, "x")
    video.close()
    assert not video.path.exists()


def test_a_video_that_cannot_be_written_is_named(tmp_path, robot):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--output"):
        EpisodeVideo(tmp_path / "file" / "episode.mp4", robot.cameras, "x")


def outcome(success: bool, waited_s: float) -> EpisodeOutcome:
    return EpisodeOutcome(
        robot="ur5e",
        task="pick_place",
        policy="scripted",
        seed=0,
        instruction="put the red cube in the tray",
        success=success,
        outcome="succeeded",
        sub_steps=["reach", "done"],
        duration_s=6.50004,
        waited_for_inference_s=waited_s,
        sub_step_latency_s=0.05,
        chunk_latency_s=0.04,
        real_time_factor=1.0,
    )


def test_an_episode_is_a_json_line_with_what_was_agreed():
    fields = outcome(True, 0.0).to_json()
    assert {"task", "instruction", "success", "sub_steps", "duration_s", "policy"} <= fields.keys()
    assert fields["duration_s"] == 6.5


def test_several_episodes_are_summed_up():
    summary = summarise([outcome(True, 0.0), outcome(False, 0.25), outcome(True, 0.0)])
    assert (summary["episodes"], summary["successes"], summary["success_rate"]) == (3, 2, 0.6667)
    assert summary["waited_for_inference_s"] == 0.25
