"""`dexvla robot`: exit codes, lines, JSON, and the first file that it writes."""

import json
import sys

import pytest

from dexvla_model.resources import list_resources
from dexvla_model.robot import load_robot
from dexvla_ros.cli import main as command_line
from dexvla_ros.drivers import for_robot

URDF = """\
<robot name="arm">
  <link name="foot"/> <link name="a"/> <link name="b"/> <link name="c"/>
  <joint name="1" type="revolute"><parent link="foot"/><child link="a"/>
    <limit lower="0.5" upper="1.5" effort="10" velocity="2"/></joint>
  <joint name="off" type="continuous"><parent link="a"/><child link="b"/><limit effort="5" velocity="0"/></joint>
  <joint name="finger" type="prismatic"><parent link="b"/><child link="c"/>
    <limit lower="0" upper="0.04" effort="10" velocity="0.1"/></joint>
</robot>
"""


@pytest.fixture
def dexvla(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dexvla", "robot", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        return caught.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def arm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arm.urdf").write_text(URDF, encoding="utf-8")
    return tmp_path / "arm.urdf"


def test_new_writes_a_file_that_loads_with_every_moving_joint(dexvla, arm, tmp_path):
    code, out, _ = dexvla("new", "arm", "--urdf", arm, "--out", tmp_path / "files/arm.yaml")
    assert code == 0 and "FILL IN" in out
    text = (tmp_path / "files/arm.yaml").read_text()
    robot = load_robot(tmp_path / "files/arm.yaml")
    assert robot.action_joints == robot.state_joints == ("1", "off", "finger")
    assert [entry.relative for entry in robot.action] == [True, True, False]
    assert robot.home == {"1": 1.0, "off": 0.0, "finger": 0.0}
    assert robot.base_frame == "foot" and robot.limits["off"].velocity > 0.0
    assert robot.urdf_path == arm and "file: ../arm.urdf" in text
    assert robot.limits["finger"].acceleration > 0.0 and "slow guesses" in text


def test_check_of_it_names_only_what_is_marked_and_what_is_not_there_yet(dexvla, arm):
    assert dexvla("new", "arm", "--urdf", arm)[0] == 0
    code, out, _ = dexvla("check", "arm.yaml")
    assert code == 2  # the frame of the placeholder's camera
    *findings, total = out.splitlines()
    assert [line.partition(":")[0] for line in findings].count("error") == 1
    assert "cameras[0].frame is 'scene_camera_optical_frame'" in findings[0]
    assert total == f"arm.yaml: 1 error, {len(findings) - 1} warnings."
    mark = arm.with_suffix(".yaml").read_text().splitlines()
    assert any("FILL IN: add this link" in line for line in mark)


def test_check_as_json(dexvla, arm):
    dexvla("new", "arm", "--urdf", arm)
    code, out, _ = dexvla("check", "arm.yaml", "--json")
    answer = json.loads(out)
    assert code == 2 and answer["errors"] == 1
    assert set(answer["findings"][0]) == {"severity", "file", "key", "text"}


def test_a_checkpoint_can_be_named(dexvla, arm):
    dexvla("new", "arm", "--urdf", arm)
    code, out, _ = dexvla("check", "arm.yaml", "--checkpoint", "tabletop_tiny")
    assert code == 2 and "embodiment is 'arm', but the heads of the checkpoint" in out


def test_new_replaces_nothing_unasked(dexvla, arm):
    (arm.parent / "arm.yaml").write_text("precious")
    code, _, err = dexvla("new", "arm", "--urdf", arm)
    assert code == 2 and "--overwrite" in err
    assert (arm.parent / "arm.yaml").read_text() == "precious"
    assert dexvla("new", "arm", "--urdf", arm, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("new", "My Arm", "--urdf", "arm.urdf"), "'My Arm' is not usable"),
        (("new", "arm", "--urdf", "none.urdf"), "--urdf none.urdf"),
        (("new", "arm", "--urdf", "arm.urdf", "--out", "arm.txt"), "ends in .yaml"),
        (("check", "ur7"), "There is no robot named 'ur7'"),
    ],
)
def test_mistakes_are_one_sentence_and_code_2(dexvla, arm, arguments, part):
    code, _, err = dexvla(*arguments)
    assert code == 2 and part in err and "Traceback" not in err


@pytest.mark.parametrize("robot", [name.removesuffix(".yaml") for name in list_resources("config/robots")])
def test_nothing_is_found_in_the_robots_that_ship(dexvla, robot):
    code, out, _ = dexvla("check", robot)
    assert (code, out) == (0, f"{robot}: 0 errors, 0 warnings.\n")


def test_a_topic_system_without_a_driver_is_a_warning(dexvla, monkeypatch):
    monkeypatch.setattr(for_robot, "list_resources", lambda folder, suffix: ["piper"])
    code, out, _ = dexvla("check", "leap")
    assert code == 0 and "warning" in out and "ros2_control leap_hand speaks through topics" in out


def test_a_hand_behind_an_action_needs_the_controller_that_its_bridge_stands_for(dexvla, tmp_path):
    text = load_robot("fr3").path.read_text(encoding="utf-8")
    file = tmp_path / "fr3.yaml"
    file.write_text(text.replace("name: gripper_controller", "name: fingers"), encoding="utf-8")
    code, out, _ = dexvla("check", file)
    assert code == 2
    assert "fr3.yaml: controllers names no gripper_controller, where gripper_action_node listens" in out
