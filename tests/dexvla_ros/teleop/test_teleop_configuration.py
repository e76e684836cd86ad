"""Teleoperation files: what ships is right, and every mistake is one sentence that names it."""

import pytest
import yaml

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_ros.teleop.configuration import DEVICES, check_device_file, load_source
from dexvla_ros.teleop.keyboard import CONTROLS, MOTIONS


@pytest.fixture
def changed(tmp_path):
    """Function: the shipped file of a device, changed by a function of its content; the path."""

    def change(device, change_content):
        content = yaml.safe_load(find_resource(f"config/teleop/{device}.yaml").read_text())
        change_content(content)
        path = tmp_path / f"{device}.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return change


@pytest.mark.parametrize("device", DEVICES)
def test_the_shipped_file_is_read(device, robot):
    source = load_source(device, "", robot, ("gripper_controller",))
    assert source.device == device


def test_the_shipped_keys_reach_every_motion_and_control(robot):
    keys = load_source("keyboard", "", robot, ()).input.config.keys
    assert {*MOTIONS, *CONTROLS} <= set(keys.values())


MISTAKES = [
    ("keyboard", lambda c: c["keys"].update(w="fly"), "keys.w is 'fly', but the actions are move_x"),
    ("keyboard", lambda c: c["keys"].pop("space"), "keys is without the action stop"),
    ("keyboard", lambda c: c.update(press_s=9.0), r"press_s is 9.0, but it has to lie in \[0.05, 1\]"),
    ("keyboard", lambda c: c["speeds"].update(warp=9), "speeds.warp is no known key"),
    ("keyboard", lambda c: c["speeds"].update(translation_m_s=-1), "speeds.translation_m_s is -1"),
    ("keyboard", lambda c: c.update(device="gamepad"), "device is 'gamepad', but the device asked"),
    ("gamepad", lambda c: c["buttons"].pop("deadman"), "the key buttons.deadman is missing"),
    ("gamepad", lambda c: c["buttons"].update(stop=4), "buttons.stop is 4, but deadman has this button"),
    ("gamepad", lambda c: c["buttons"].update(jump=9), "buttons.jump is no known key"),
    ("gamepad", lambda c: c["axes"].update(sideways={"axis": 1}), "axes is for 'sideways', but what an axis"),
    ("gamepad", lambda c: c["axes"]["move_x"].update(axis=-1), r"axes.move_x.axis is -1"),
    ("gamepad", lambda c: c["axes"]["move_x"].update(scale=2.0), r"axes.move_x.scale is 2.0"),
    ("gamepad", lambda c: c.update(dead_zone=1.0), "dead_zone is 1.0"),
    ("leader", lambda c: c["joints"][0].update(follower="nose"), r"joints\[0\].follower is 'nose', but"),
    ("leader", lambda c: c["joints"][0].update(unit="grad"), r"joints\[0\].unit is 'grad', but allowed"),
    ("leader", lambda c: c["joints"][0].update(unit="m"), r"joints\[0\].unit is 'm', but shoulder_pan_joint"),
    ("leader", lambda c: c["joints"][0].pop("unit"), r"the key joints\[0\].unit is missing"),
    ("leader", lambda c: c["joints"][0].update(sign=0.5), r"joints\[0\].sign is 0.5, but allowed are 1"),
    ("leader", lambda c: c["joints"][1].update(follower="shoulder_pan_joint"), "a joint may follow only one"),
    ("leader", lambda c: c["alignment"].update(mode="snap"), "alignment.mode is 'snap'"),
    ("leader", lambda c: c.update(joints=[]), r"joints is \[\]"),
]


@pytest.mark.parametrize(("device", "change", "message"), MISTAKES)
def test_a_mistake_is_named_with_file_key_and_what_is_allowed(device, change, message, changed, robot):
    path = changed(device, change)
    with pytest.raises(UserError, match=message) as caught:
        check_device_file(device, path, robot)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_device_that_is_not_known(robot):
    with pytest.raises(UserError, match="/nowhere/keys.yaml: there is no such teleoperation file"):
        check_device_file("keyboard", "/nowhere/keys.yaml", robot)
    with pytest.raises(UserError, match="no device 'mouse' .allowed: keyboard, gamepad, leader"):
        check_device_file("mouse", "", robot)


def test_keys_for_more_joints_than_the_robot_has_are_left_out(robot):
    keys = load_source("keyboard", "", robot, ()).input.config.keys
    assert keys["7"] == "joint_7"
    assert "8" not in keys
