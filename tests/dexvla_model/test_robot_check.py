"""Checking a robot's files against each other: what is found, and that everything is found at once."""

import pytest

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.robot.check import ERROR, WARNING, check_robot
from dexvla_model.robot.check.finding import from_error

URDF = """\
<robot name="crane">
  <link name="base_link"/> <link name="boom"/> <link name="jib"/> <link name="hook"/> <link name="eye"/>
  <joint name="turn" type="revolute"><parent link="base_link"/><child link="boom"/><axis xyz="0 0 1"/>
    <limit lower="-3" upper="3" effort="10" velocity="2"/></joint>
  <joint name="lift" type="revolute"><parent link="boom"/><child link="jib"/><axis xyz="0 1 0"/>
    <limit lower="-1" upper="1" effort="10" velocity="2"/></joint>
  <joint name="slide" type="prismatic"><parent link="jib"/><child link="hook"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="0.4" effort="10" velocity="0.2"/></joint>
  <joint name="mount" type="fixed"><parent link="jib"/><child link="eye"/></joint>
  <gazebo reference="eye"><sensor name="eye" type="camera"><camera><horizontal_fov>0.8</horizontal_fov></camera>
  </sensor></gazebo>
  <ros2_control name="crane" type="system">
    <hardware><plugin>mock_components/GenericSystem</plugin></hardware>
    <joint name="turn"><command_interface name="position"/></joint>
    <joint name="lift"><command_interface name="position"/></joint>
    <joint name="slide"><command_interface name="position"/></joint>
  </ros2_control>
</robot>
"""
ROBOT = """\
name: crane
embodiment: crane
urdf: {file: ../crane.urdf}
cameras:
  - {role: eye, topic: cameras/eye/image_raw, frame: eye, size: [64, 64], model_size: [56, 56], rate_hz: 10.0}
state: [{joint: turn, unit: rad}, {joint: lift, unit: rad}, {joint: slide, unit: m}]
action: [{joint: turn, unit: rad}, {joint: lift, unit: rad}, {joint: slide, unit: m}]
controllers:
  - {name: arm, type: joint_trajectory_controller/JointTrajectoryController, joints: [turn, lift, slide]}
rates: {observation_hz: 10.0, action_hz: 10.0, joint_state_hz: 100.0, controller_hz: 100.0}
limits:
  turn: {acceleration_rad_s2: 2.0, jerk_rad_s3: 20.0}
  lift: {acceleration_rad_s2: 2.0, jerk_rad_s3: 20.0}
  slide: {acceleration_m_s2: 0.2, jerk_m_s3: 2.0}
home: {turn: 0.0, lift: 0.5, slide: 0.1}
"""
CONTROLLERS = """\
controller_manager:
  ros__parameters:
    update_rate: 100
    joint_state_broadcaster: {type: joint_state_broadcaster/JointStateBroadcaster}
    arm: {type: joint_trajectory_controller/JointTrajectoryController}
arm:
  ros__parameters:
    joints: [turn, lift, slide]
    command_interfaces: [position]
    interpolate_from_desired_state: true
    allow_nonzero_velocity_at_trajectory_end: false
    allow_partial_joints_goal: false
    cmd_timeout: 0.5
"""


@pytest.fixture
def check(tmp_path):
    """Checks a small robot after `changes` (old, new) to one of its three files; gives {key: finding}."""

    def run(*changes: tuple[str, str], checkpoint=None):
        texts = {"crane.urdf": URDF, "robots/crane.yaml": ROBOT, "controllers/crane.yaml": CONTROLLERS}
        for old, new in changes:
            holders = [name for name, text in texts.items() if old in text]
            assert holders, old
            # The robot file and the controllers file say some things in the same words; the robot file goes first.
            texts[holders[0]] = texts[holders[0]].replace(old, new, 1)
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        _, findings = check_robot(tmp_path / "robots/crane.yaml", checkpoint)
        assert all("\n" not in str(finding) for finding in findings)
        assert len({(finding.file, finding.key, finding.text) for finding in findings}) == len(findings)
        return {finding.key: finding for finding in findings}

    return run


def test_files_that_fit_have_no_finding(check):
    assert check() == {}


def test_everything_is_found_at_once_with_file_key_and_remedy(check, tmp_path):
    found = check(
        ("state: [{joint: turn", "state: [{joint: tern"),
        ("action: [{joint: turn, unit: rad}, {joint: lift, unit: rad}",
         "action: [{joint: turn, unit: rad}, {joint: lift, unit: deg}"),
        ("turn: {acceleration_rad_s2: 2.0", "turn: {upper_rad: 3.2, velocity_rad_s: 90, acceleration_rad_s2: 400.0"),
        ("lift: 0.5, slide: 0.1", "lift: 30, slide: 100"),
        ("frame: eye", "frame: ear"),
        ("interpolate_from_desired_state: true", "interpolate_from_desired_state: false"),
    )
    expected = {
        "state[0].joint": "did you mean turn?",
        "action[1].unit": "lift moves in rad",
        "limits.turn.upper_rad": "the URDF's range is [-3, 3]",
        "limits.turn.velocity_rad_s": "looks like degrees, which would be 1.571 rad",
        "home.lift": "looks like degrees, which would be 0.5236 rad",
        "home.slide": "looks like millimetres, which would be 0.1 m",
        "cameras[0].frame": "has no such link",
    }
    errors = {key: finding for key, finding in found.items() if finding.severity == ERROR}
    assert set(errors) == set(expected)
    for key, part in expected.items():
        assert part in str(errors[key])
        assert str(errors[key]).startswith(f"error: {tmp_path / 'robots/crane.yaml'}: {key} ")
    warnings = {key for key, finding in found.items() if finding.severity == WARNING}
    assert warnings == {"limits.turn.acceleration_rad_s2", "arm.interpolate_from_desired_state"}


def test_errors_stand_before_warnings(check, tmp_path):
    check(("    cmd_timeout: 0.5\n", ""), ("lift: 0.5", "lift: 30"))
    _, findings = check_robot(tmp_path / "robots/crane.yaml")
    assert [finding.severity for finding in findings] == [ERROR, WARNING]


def test_what_only_loading_finds_is_a_finding_too(check):
    assert "has to lie in" in check(("action_hz: 10.0", "action_hz: 0"))["rates.action_hz"].text
    assert "is no known key" in check(("name: crane", "name: crane\nspeed: 3"))["speed"].text


def test_joints_in_another_order_than_along_the_arm(check):
    found = check(("joints: [turn, lift, slide]", "joints: [lift, turn, slide]"))
    assert "along the arm it is turn, lift, slide" in found["controllers[0].joints"].text
    assert found["arm.joints"].severity == ERROR  # and in another order than the controllers file has
    turned = ("{joint: turn, unit: rad}, {joint: lift", "{joint: lift, unit: rad}, {joint: turn")
    assert "two orders" in check(turned)["state[0].joint"].text


@pytest.mark.parametrize(
    ("old", "new", "key", "part"),
    [
        ("    joints: [turn, lift, slide]\n", "    joints: [turn, lift]\n", "arm.joints", "claims turn, lift, but"),
        ("update_rate: 100", "update_rate: 500", "controller_manager.update_rate", "rates.controller_hz"),
        ("    arm: {type: joint", "    leg: {type: joint", "controller_manager.arm", "the robot file streams to it"),
        ("command_interfaces: [position]", "command_interfaces: [effort]", "arm.joints", "do not offer it"),
        ("    joint_state_broadcaster: {", "    other: {", "controller_manager.joint_state_broadcaster", "joint_states"),
        ("type: joint_trajectory_controller/JointTrajectoryController}\narm", "type: some/Other}\narm",
         "controller_manager.arm.type", "'some/Other'"),
    ],
)
def test_a_controllers_file_that_says_something_else(check, old, new, key, part):
    found = check((old, new))
    assert found[key].severity == ERROR and part in found[key].text
    assert found[key].file.endswith("controllers/crane.yaml")


@pytest.mark.parametrize(
    ("old", "new", "key", "part", "severity"),
    [
        ('lower="-3" upper="3"', 'lower="-170" upper="170"', "joint turn limit", "looks like degrees", WARNING),
        ('upper="0.4"', 'upper="400"', "joint slide limit", "looks like millimetres", WARNING),
        ('effort="10" velocity="0.2"', 'velocity="0.2"', "joint slide limit", "has no effort", WARNING),
        ('lower="-1" upper="1"', 'lower="1" upper="1"', "joint lift limit", "no room to move", ERROR),
        (">0.8<", ">46<", "horizontal_fov of eye", "which would be 0.8029 rad", ERROR),
        ('<joint name="lift"><command', '<joint name="left"><command', "ros2_control joint left", "no moving joint", ERROR),
    ],
)
def test_a_urdf_that_cannot_be_meant(check, old, new, key, part, severity):
    found = check((old, new))
    assert found[key].severity == severity and part in found[key].text
    assert "crane.urdf" in found[key].file


def test_a_robot_without_a_controllers_file_is_warned_of(check, tmp_path):
    check()
    (tmp_path / "controllers/crane.yaml").unlink()
    _, findings = check_robot(tmp_path / "robots/crane.yaml")
    assert [(finding.severity, finding.key) for finding in findings] == [(WARNING, "controllers")]


def test_the_real_robots_controllers_file_is_checked_as_well(check, tmp_path):
    check()
    (tmp_path / "controllers/crane_real.yaml").write_text(CONTROLLERS.replace("update_rate: 100", "update_rate: 50"))
    _, findings = check_robot(tmp_path / "robots/crane.yaml")
    assert [finding.file for finding in findings] == [str(tmp_path / "controllers/crane_real.yaml")]


def test_a_missing_urdf_is_a_finding_and_the_rest_is_still_checked(check):
    found = check(("../crane.urdf", "../derrick.urdf"), ("update_rate: 100", "update_rate: 50"))
    assert {"urdf.file", "controller_manager.update_rate"} <= set(found)


def test_a_file_that_is_no_yaml_or_absent_is_one_sentence(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        check_robot(tmp_path / "bad.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        check_robot(tmp_path / "none.yaml")


def test_a_sentence_without_a_key_is_a_finding_of_its_file():
    finding = from_error(UserError("arm.yaml: it is all wrong."), "arm.yaml")
    assert str(finding) == "error: arm.yaml: it is all wrong."


def test_a_head_of_another_embodiment_or_layout_does_not_fit(check):
    folder = find_resource("checkpoints/tabletop_tiny")
    found = check(checkpoint=folder)
    assert "the heads of the checkpoint" in found["embodiment"].text and "ur5e_2f85" in found["embodiment"].text
    found = check(("embodiment: crane", "embodiment: ur5e_2f85"), checkpoint=folder)
    assert "'turn', but the checkpoint" in found["state[0].joint"].text
    assert {"the length of action", "the list of camera roles"} <= set(found)


def test_what_is_no_checkpoint_is_a_finding(check, tmp_path):
    found = check(checkpoint=tmp_path)
    assert [finding.severity for finding in found.values()] == [ERROR]


def test_the_checkpoint_that_ships_is_checked_unasked(monkeypatch):
    from dexvla_model.robot import load_robot
    from dexvla_model.robot.check.head import shipped_checkpoints

    assert [folder.name for folder in shipped_checkpoints(load_robot("ur5e"))] == ["tabletop_tiny"]
    assert shipped_checkpoints(load_robot("leap")) == []


@pytest.mark.parametrize("robot", ["agilex_dual", "fr3", "leap", "ur5e"])
def test_shipped_robots_have_no_finding(robot):
    assert check_robot(robot)[1] == []
