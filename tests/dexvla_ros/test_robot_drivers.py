"""Every device of a robot that speaks through topics has a driver, or says that it has none here."""

import pytest

from dexvla_model.robot import load_robot
from dexvla_ros.drivers.for_robot import drivers_for


@pytest.mark.parametrize(
    ("robot", "systems"),
    [
        ("ur5e", []),
        ("fr3", []),  # the Franka Hand's node is the vendor's, and offers actions alone
        ("fr3_leap", [("leap_hand", "leap")]),
        ("ur5e_inspire", [("inspire_hand", "inspire")]),
        ("agilex_piper", [("piper", "piper")]),
        ("agilex_dual", [("piper_left", "piper"), ("piper_right", "piper")]),
        ("inspire", [("inspire_hand", "inspire")]),
        ("leap", [("leap_hand", "leap")]),
    ],
)
def test_the_urdf_names_the_drivers(robot, systems):
    choices = drivers_for(load_robot(robot))
    assert [(choice.system, choice.device) for choice in choices] == systems
    for choice in choices:
        assert choice.remappings == {
            "joint_commands": f"{choice.system}/joint_commands",
            "joint_states": f"{choice.system}/joint_states",
        }
