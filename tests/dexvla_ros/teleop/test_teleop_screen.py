"""The screen: every key with what it does, and what the robot does and why."""

import numpy as np
import pytest
from rich.console import Console

from dexvla_ros.cli.teleop_screen import key_table, teleop_screen
from dexvla_ros.messages.teleop_states import state_of_message, teleop_state_message
from dexvla_ros.teleop.configuration import load_keyboard
from dexvla_ros.teleop.teleop_loop import TeleopState
from dexvla_sim.kinematics import rotation_matrix


@pytest.fixture
def keys(robot):
    return load_keyboard("", robot).keys


def shown(renderable):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))
    console.print(renderable)
    return console.export_text()


def message(state, pose=None):
    return teleop_state_message(3.5, "base_link", "keyboard", state, "why not", "tool", 0.4, pose)


def test_it_shows_keys_state_reason_speed_and_pose(keys):
    pose = (np.array([0.44, -0.1, 0.28]), rotation_matrix(np.array([0.0, 0.0, np.pi / 2.0])))
    text = shown(teleop_screen(key_table(keys, "keyboard"), message(TeleopState.MOVING, pose), "enter"))
    for words in ("MOVING", "why not", "tool frame", "40%", "x +0.440  y -0.100  z +0.280 m", "z  +90.0"):
        assert words in text
    for words in ("w / s", "move along x", "g / h", "close, open the gripper", "space", "stop", "quit"):
        assert words in text
    assert "takes the robot over" not in text


def test_it_says_how_to_take_the_robot_over_where_that_is_needed(keys):
    for state in (TeleopState.RELEASED, TeleopState.HOLDING):
        assert "enter takes the robot over" in shown(
            teleop_screen(key_table(keys, "keyboard"), message(state), "enter")
        )


def test_with_a_gamepad_only_the_keys_that_are_no_motion_are_shown(keys):
    text = shown(teleop_screen(key_table(keys, "gamepad"), None, "enter", "the gamepad is gone"))
    assert "waits for teleop_node" in text and "the gamepad is gone" in text
    assert "take the robot over" in text and "move along x" not in text


@pytest.mark.parametrize("state", TeleopState)
def test_every_state_survives_its_message(state):
    assert state_of_message(message(state)) is state


def test_a_robot_without_a_tool_has_no_pose(keys):
    quaternion = message(TeleopState.READY).pose.orientation
    assert (quaternion.w, quaternion.x, quaternion.y, quaternion.z) == (0.0, 0.0, 0.0, 0.0)
    screen = teleop_screen(key_table(keys, "keyboard"), message(TeleopState.READY), "enter")
    assert "turned" not in shown(screen)
