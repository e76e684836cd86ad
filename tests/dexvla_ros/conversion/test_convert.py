"""Bags become episodes: aligned, whole, and with nothing made up."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from dexvla_model.errors import UserError
from dexvla_ros.conversion.convert import ConversionJob, convert_bags

# A date of today: floats hold it in seconds to a quarter of a microsecond only.
START_NS = 1_795_360_557_000_000_001


def convert(bags, out, **changes):
    return convert_bags(ConversionJob(tuple(bags), out, **changes), processes=1)


def table(out: Path):
    """All frames of a dataset."""
    (file,) = (out / "data").rglob("*.parquet")
    return parquet.read_table(file).to_pydict()


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def bag(make_script, tmp_path) -> Path:
    script = make_script(20)
    script.mark(START_NS - 1_000_000_000, "look around")
    script.mark(START_NS + 730_000_000, "grasp the cube")
    return script.write(tmp_path / "episode_000001")


def test_every_observation_becomes_a_frame_with_state_action_and_stamp(bag, state_at, command_at, tmp_path):
    (report,) = convert([bag], tmp_path / "out")
    assert (report.result, report.episodes, report.frames, report.gaps) == ("converted", 1, 20, [])
    frames = table(tmp_path / "out")
    for number in range(20):
        stamp_ns = START_NS + number * 100_000_000
        assert frames["stamp_ns"][number] == stamp_ns
        assert np.array_equal(np.float32(frames["observation.state"][number]), np.float32(state_at(stamp_ns)))
        np.testing.assert_allclose(frames["action"][number], command_at(stamp_ns), atol=1e-6)
    np.testing.assert_allclose(frames["timestamp"], np.arange(20) / 10, atol=1e-6)


def test_joints_in_any_order_on_the_wire_end_up_in_the_order_of_the_robot_file(bag, robot, tmp_path):
    convert([bag], tmp_path / "out")
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"]["observation.state"]["names"] == list(robot.state_joints)
    # The joints move at rates of their own, in this order.
    assert (np.diff(table(tmp_path / "out")["observation.state"][-1]) > 0).all()


def test_marks_become_sub_steps_from_the_frame_on_at_which_they_begin(bag, tmp_path):
    convert([bag], tmp_path / "out")
    rows = table(tmp_path / "out")["language_persistent"][0]
    assert [(row["content"], round(row["timestamp"], 3)) for row in rows] == [
        ("look around", 0.0),
        ("grasp the cube", 0.8),
    ]


def test_the_bag_is_left_as_it_was(bag, tmp_path):
    before = fingerprint(bag)
    convert([bag], tmp_path / "out")
    assert fingerprint(bag) == before


def test_a_second_conversion_adds_only_what_is_new(bag, make_script, tmp_path):
    convert([bag], tmp_path / "out")
    second = make_script(12).write(tmp_path / "episode_000002")
    first, new = convert([bag, second], tmp_path / "out")
    assert (first.result, new.result, new.frames) == ("skipped", "converted", 12)
    assert json.loads((tmp_path / "out/meta/info.json").read_text())["total_episodes"] == 2


def test_an_episode_with_a_hole_is_refused_and_the_silent_topics_are_named(make_script, tmp_path):
    bag = make_script(20, missing=(8, 9)).write(tmp_path / "episode")
    with pytest.raises(
        UserError, match=r"holes, the first: /cameras/scene/image_raw: nothing for 0\.300 s .*--allow-gaps"
    ):
        convert([bag], tmp_path / "out")
    assert not (tmp_path / "out/meta/info.json").exists()


def test_with_leave_a_hole_parts_the_episode(make_script, tmp_path):
    script = make_script(20, missing=(8, 9))
    script.mark(START_NS, "reach")
    (report,) = convert([script.write(tmp_path / "episode")], tmp_path / "out", allow_gaps=True)
    assert (report.episodes, report.frames) == (2, 18)
    assert {gap.topic for gap in report.gaps} == {"/cameras/scene/image_raw", "/cameras/wrist/image_raw"}
    frames = table(tmp_path / "out")
    assert frames["episode_index"] == [0] * 8 + [1] * 10
    assert frames["frame_index"] == [*range(8), *range(10)]
    # The sub-step that is under way goes on in the second part.
    assert frames["language_persistent"][10][0]["content"] == "reach"
    assert frames["language_persistent"][10][0]["timestamp"] == 0.0


def test_one_bad_bag_stops_nothing_and_is_reported(bag, make_script, tmp_path):
    bad = make_script(20, missing=(8,)).write(tmp_path / "episode_000002")
    good, refused = convert([bag, bad], tmp_path / "out")
    assert (good.result, refused.result) == ("converted", "refused")
    assert "--allow-gaps" in refused.reason


def test_frames_before_the_first_command_are_left_out_and_counted(make_script, tmp_path):
    script = make_script(20)
    script.entries = [
        entry for entry in script.entries if "trajectory" not in entry[0] or entry[2] > START_NS + 500_000_000
    ]
    (report,) = convert([script.write(tmp_path / "episode")], tmp_path / "out")
    assert report.before_first_command == 6
    assert report.frames == 14


def test_a_state_that_is_not_finite_is_not_used(make_script, robot, tmp_path):
    script = make_script(20)
    names = robot.state_joints
    for number in range(20):
        script.joints(START_NS + number * 100_000_000 - 1_000_000, names, [np.nan] * len(names))
    (report,) = convert([script.write(tmp_path / "episode")], tmp_path / "out")
    assert report.refused_messages["/joint_states"][1] == 20
    assert "nan" in report.refused_messages["/joint_states"][0]
    assert np.isfinite(table(tmp_path / "out")["observation.state"]).all()


def test_joint_states_that_stop_are_a_hole(make_script, tmp_path):
    script = make_script(20)
    silent = range(START_NS + 700_000_000, START_NS + 1_200_000_000)
    script.entries = [e for e in script.entries if e[0] != "/joint_states" or e[2] not in silent]
    with pytest.raises(UserError, match="the first: /joint_states: nothing for"):
        convert([script.write(tmp_path / "episode")], tmp_path / "out")


def test_a_missing_topic_is_named_with_those_that_are_there(make_script, tmp_path):
    script = make_script(4)
    script.entries = [entry for entry in script.entries if "wrist" not in entry[0]]
    with pytest.raises(UserError, match=r"no message on the topic /cameras/wrist/image_raw.*/joint_states"):
        convert([script.write(tmp_path / "episode")], tmp_path / "out")


def test_a_topic_of_another_type_is_refused(make_script, robot, tmp_path):
    script = make_script(4)
    script.entries = [entry for entry in script.entries if "wrist" not in entry[0]]
    state = next(entry[3] for entry in script.entries if entry[0] == "/joint_states")
    script.add("/cameras/wrist/image_raw", "sensor_msgs/msg/JointState", START_NS, state)
    with pytest.raises(UserError, match=r"type sensor_msgs/msg/JointState \(needed: sensor_msgs/msg/Image\)"):
        convert([script.write(tmp_path / "episode")], tmp_path / "out")


def test_a_clock_that_goes_back_is_refused(make_script, robot, tmp_path):
    script = make_script(10)
    late = START_NS + 2_000_000_000
    script.joints(late, robot.state_joints, np.zeros(len(robot.state_joints)))
    script.entries[-1] = (*script.entries[-1][:2], START_NS + 300_000_000, script.entries[-1][3])
    with pytest.raises(UserError, match="the clock of /joint_states goes back"):
        convert([script.write(tmp_path / "episode")], tmp_path / "out")


def test_a_camera_whose_size_changes_midway_is_refused(make_script, robot, picture, tmp_path):
    script = make_script(10)
    for number in range(10, 15):
        script.image("scene", START_NS + number * 100_000_000, picture("scene", number)[::2, ::2])
        script.image("wrist", START_NS + number * 100_000_000, picture("wrist", number))
    for tick in range(100, 160):
        script.joints(START_NS + tick * 10_000_000, robot.state_joints, np.zeros(len(robot.state_joints)))
    bag = script.write(tmp_path / "episode")
    for size in ("camera", "model"):
        with pytest.raises(UserError, match="camera scene changes from 320 x 240 to 160 x 120 pixels"):
            convert([bag], tmp_path / f"out_{size}", image_size=size)
        assert not (tmp_path / f"out_{size}/meta/info.json").exists()


def test_an_empty_episode_is_refused(make_script, tmp_path):
    script = make_script(10)
    script.entries = script.entries[:1]
    with pytest.raises(UserError, match="no message on the topic"):
        convert([script.write(tmp_path / "episode")], tmp_path / "out")


def test_a_bag_that_was_cut_off_asks_for_repair(bag, tmp_path):
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(UserError, match=f"cut off; run: dexvla record --repair {bag}"):
        convert([bag], tmp_path / "out")


def test_a_bag_without_metadata_needs_robot_and_instruction(make_script, tmp_path):
    bag = make_script(6).write(tmp_path / "episode", metadata=None)
    with pytest.raises(UserError, match="name one with --robot"):
        convert([bag], tmp_path / "out")
    with pytest.raises(UserError, match="give --instruction"):
        convert([bag], tmp_path / "out", robot="ur5e")
    (report,) = convert([bag], tmp_path / "out", robot="ur5e", instruction="wave")
    assert report.frames == 6


def test_a_bag_of_ros2_bag_record_says_robot_and_instruction_itself(make_script, tmp_path):
    said = {"robot": "ur5e", "instruction": "wave", "operator": "Ada"}
    bag = make_script(6).write(tmp_path / "rosbag2_day", metadata=None, plain=said)
    (report,) = convert([bag], tmp_path / "out")
    assert report.frames == 6
    tasks = parquet.read_table(tmp_path / "out/meta/tasks.parquet").to_pydict()
    assert "wave" in str(tasks)


def test_only_successes_if_asked_for(bag, make_script, tmp_path):
    failed = make_script(5).write(tmp_path / "episode_000002", outcome="failure")
    good, left_out = convert([bag, failed], tmp_path / "out", only_success=True)
    assert (good.result, left_out.result, left_out.reason) == (
        "converted",
        "skipped",
        "its outcome is failure",
    )


def test_a_robot_with_another_layout_is_refused(bag, robot, tmp_path):
    text = robot.text.replace("action_hz: 10.0", "action_hz: 20.0")
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("file: urdf/", f"file: {robot.urdf_path.parent}/"))
    with pytest.raises(UserError, match=r"rates.action_hz is 20.0, but the bag .* was made with 10.0"):
        convert([bag], tmp_path / "out", robot=str(other))


def test_a_bag_named_twice_is_refused(bag, tmp_path):
    with pytest.raises(UserError, match="named twice"):
        convert([bag, bag.parent / bag.name], tmp_path / "out")


def test_a_piece_that_an_interrupted_conversion_left_is_not_written_twice(make_script, tmp_path):
    bag = make_script(20, missing=(8, 9)).write(tmp_path / "episode")
    convert([bag], tmp_path / "whole", allow_gaps=True)
    convert([bag], tmp_path / "out", allow_gaps=True)
    # As if it had been killed between the two: the second is not there.
    from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter
    from dexvla_model.robot import load_robot

    shutil.rmtree(tmp_path / "out")
    robot = load_robot("ur5e")
    sizes = {camera.role: (camera.width, camera.height) for camera in robot.cameras}
    writer = DatasetWriter.open(tmp_path / "out", DatasetSpecification.of_robot(robot, 10.0, sizes))
    images = {c.role: np.zeros((c.height, c.width, 3), np.uint8) for c in robot.cameras}
    with writer.begin_episode("left over", "episode#0") as episode:
        episode.add_frame(0, np.zeros(7), np.zeros(7), images)
        episode.end()
    writer.close()
    (report,) = convert([bag], tmp_path / "out", allow_gaps=True)
    assert (report.episodes, report.frames) == (1, 10)
    assert table(tmp_path / "out")["episode_index"] == [0] + [1] * 10
