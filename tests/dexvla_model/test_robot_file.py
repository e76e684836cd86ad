"""The robot file: what loads, and what each mistake is answered with."""

from pathlib import Path

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.robot import check_same_layout, load_robot, parse_robot

UR5E = load_robot("ur5e")


def changed(old: str, new: str):
    assert old in UR5E.text
    return parse_robot(UR5E.text.replace(old, new, 1), UR5E.path)


def test_ur5e_has_seven_joints_in_the_vendors_names():
    assert UR5E.state_joints == UR5E.action_joints
    assert UR5E.action_joints[0] == "shoulder_pan_joint"
    assert UR5E.action_joints[-1] == "robotiq_85_left_knuckle_joint"


def test_position_and_velocity_limits_default_to_the_urdf():
    limits = UR5E.limits["elbow_joint"]
    assert limits.upper == pytest.approx(np.pi)
    assert limits.velocity == pytest.approx(np.pi)


def test_home_pose_lies_within_the_limits():
    for joint, position in UR5E.home.items():
        assert UR5E.limits[joint].lower <= position <= UR5E.limits[joint].upper


def test_controller_topic_is_the_stock_controllers():
    assert UR5E.controller("joint_trajectory_controller").topic == "joint_trajectory_controller/joint_trajectory"


def test_info_topic_stands_beside_the_image_topic():
    assert UR5E.camera("wrist").info_topic == "cameras/wrist/camera_info"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: ur5e", "nam: ur5e", ["name is missing", "nam"]),
        ("rate_hz: 10.0", "rate_hz: fast", ["cameras[0].rate_hz", "'fast'", "number"]),
        ("model_size: [140, 112]", "model_size: [140, 111]", ["cameras[0].model_size", "multiples of 28"]),
        ("transport: raw", "transport: theora", ["cameras[0].transport", "theora", "compressed"]),
        ("role: wrist", "role: scene", ["cameras[1].role", "scene"]),
        ("- {joint: elbow_joint, unit: rad}", "- {joint: elbow, unit: rad}", ["state[2].joint", "'elbow'", "elbow_joint"]),
        ("- {joint: elbow_joint, unit: rad}", "- {joint: elbow_joint, unit: deg}", ["state[2].unit", "deg", "rad"]),
        ("joints: [robotiq_85_left_knuckle_joint]", "joints: [wrist_1_joint]", ["controllers[1].joints", "wrist_1_joint"]),
        ("action_hz: 10.0", "action_hz: 0", ["rates.action_hz", "0"]),
        ("elbow_joint: {acceleration_rad_s2: 5.0", "elbow_joint: {velocity_rad_s: 9.0, acceleration_rad_s2: 5.0",
         ["limits.elbow_joint.velocity_rad_s", "9", "3.14"]),
        ("elbow_joint: {acceleration_rad_s2: 5.0, jerk_rad_s3: 50.0}", "elbow_joint: {acceleration_rad_s2: 5.0}",
         ["limits.elbow_joint.jerk_rad_s3", "missing"]),
        ("file: urdf/ur5e.urdf.xacro", "file: urdf/nothing.xacro", ["urdf.file", "nothing.xacro"]),
        ("base_frame: base_link", "base_frame: base_link\nspeed: 3", ["speed", "no known key", "rates"]),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_is_allowed(old, new, expected):
    with pytest.raises(UserError) as caught:
        changed(old, new)
    message = str(caught.value)
    assert str(UR5E.path) in message
    assert "\n" not in message
    for part in expected:
        assert part in message


def test_a_yaml_error_names_the_line():
    with pytest.raises(UserError, match="line 2"):
        parse_robot("name: ur5e\n  : [", Path("broken.yaml"))


def test_a_home_pose_outside_the_limits_is_refused():
    home = UR5E.home["shoulder_pan_joint"]
    with pytest.raises(UserError, match="home.shoulder_pan_joint"):
        changed(f"home:\n  shoulder_pan_joint: {home}", "home:\n  shoulder_pan_joint: 7.0")


def test_an_unknown_robot_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="'ur7'.*allowed: .*ur5e"):
        load_robot("ur7")


def test_a_missing_robot_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml"):
        load_robot(tmp_path / "nowhere.yaml")


def test_the_same_layout_is_accepted():
    check_same_layout(UR5E, parse_robot(UR5E.text, UR5E.path), "checkpoint")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("- {joint: wrist_1_joint, unit: rad, relative: true}\n", "- {joint: wrist_1_joint, unit: rad}\n",
         r"action\[3\].relative"),
        ("  - {joint: shoulder_pan_joint, unit: rad}\n", "", r"state\[0\].joint"),
        ("model_size: [140, 112]", "model_size: [168, 112]", r"cameras\[0\].model_size"),
        ("action_hz: 10.0", "action_hz: 20.0", "rates.action_hz"),
        ("role: wrist", "role: hand", "camera roles"),
    ],
)
def test_a_robot_that_differs_from_the_checkpoints_is_refused_by_entry(old, new, key):
    with pytest.raises(UserError, match=key):
        check_same_layout(UR5E, changed(old, new), "checkpoint")
