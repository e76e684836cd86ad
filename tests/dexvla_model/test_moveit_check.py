"""The check of a MoveIt configuration: every shipped one is clean, and every mistake is one line."""

import shutil

import pytest

from dexvla_model.resources import find_resource
from dexvla_model.robot import load_robot
from dexvla_model.robot.check import ERROR
from dexvla_model.robot.check.moveit_files import check_moveit
from dexvla_model.robot.moveit import load_semantics, moveit_folder, read_srdf

ROBOTS = ("ur5e", "fr3", "agilex_piper", "agilex_dual", "ur5e_inspire", "fr3_leap", "inspire", "leap")


@pytest.fixture(scope="module")
def ur5e():
    return load_robot("ur5e")


@pytest.fixture
def check(ur5e, tmp_path):
    """Checks a copy of the UR5e's files after changes (file, old, new); gives {key: finding}."""

    def run(*changes):
        folder = tmp_path / "ur5e"
        shutil.copytree(find_resource("config/moveit/ur5e"), folder)
        for name, old, new in changes:
            text = (folder / name).read_text()
            assert old in text, old
            (folder / name).write_text(text.replace(old, new, 1))
        findings = list(check_moveit(folder, ur5e))
        assert all("\n" not in str(finding) for finding in findings)
        return {finding.key: finding for finding in findings}

    return run


@pytest.mark.parametrize("name", ROBOTS)
def test_what_ships_is_clean(name):
    robot = load_robot(name)
    assert list(check_moveit(moveit_folder(name, robot.path), robot)) == []


@pytest.mark.parametrize("name", ROBOTS)
def test_every_robot_has_home_and_ready_for_all_of_its_joints(name):
    robot = load_robot(name)
    states = load_semantics(robot).states
    for state in ("home", "ready"):
        assert set(states[state]) == set(robot.action_joints)
    assert states["home"] == pytest.approx(robot.home)


@pytest.mark.parametrize(
    ("file", "old", "new", "key", "words"),
    [
        (
            "joint_limits.yaml",
            "max_velocity: 3.14",
            "max_velocity: 4.14",
            "joint_limits.shoulder_pan_joint.max_velocity",
            "looser than the 3.14159 of",
        ),
        (
            "joint_limits.yaml",
            "max_acceleration: 5.0",
            "max_acceleration: 6.0",
            "joint_limits.shoulder_pan_joint.max_acceleration",
            "is 6, looser than the 5 of",
        ),
        (
            "joint_limits.yaml",
            "min_position: -6.28",
            "min_position: -7.28",
            "joint_limits.shoulder_pan_joint.min_position",
            "looser than the -6.28319 of",
        ),
        (
            "joint_limits.yaml",
            "elbow_joint:",
            "elbow:",
            "joint_limits.elbow",
            "is no joint that can be driven",
        ),
        (
            "ur5e.srdf",
            'joint name="elbow_joint"',
            'joint name="elbow"',
            "group_state home",
            "has the joint 'elbow'",
        ),
        (
            "ur5e.srdf",
            'value="-1.7359"',
            'value="-17.359"',
            "group_state home",
            "allowed is -6.28319 to 6.28319",
        ),
        ("ur5e.srdf", 'value="-1.7359"', 'value="-1.7"', "group_state home", "but home of"),
        ("ur5e.srdf", 'tip_link="grasp_frame"', 'tip_link="tip"', "group arm", "no chain of"),
        (
            "ur5e.srdf",
            'parent_link="robotiq_85_base_link"',
            'parent_link="wrist"',
            "end_effector gripper",
            "'wrist'",
        ),
        (
            "ur5e.srdf",
            'link1="base_link_inertia"',
            'link1="foot"',
            "disable_collisions",
            "names the link 'foot'",
        ),
        (
            "kinematics.yaml",
            "arm:",
            "left_arm:",
            "left_arm",
            "is no group of the SRDF; it has all, arm, gripper",
        ),
        ("ompl_planning.yaml", "  - RRTstar", "  - PRM", "arm.planner_configs", "names 'PRM'"),
        (
            "moveit_controllers.yaml",
            "    - elbow_joint\n",
            "",
            "moveit_simple_controller_manager.joint_trajectory_controller.joints",
            "claims shoulder_pan_joint, shoulder_lift_joint, wrist_1_joint",
        ),
        (
            "moveit_controllers.yaml",
            "  - gripper_controller",
            "  - hand_controller",
            "moveit_simple_controller_manager.controller_names",
            "lack gripper_controller",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(check, file, old, new, key, words):
    findings = check((file, old, new))
    assert key in findings, findings
    finding = findings[key]
    assert finding.file.endswith(file) and words in finding.text
    assert finding.severity == ERROR or key == "disable_collisions"


def test_a_file_that_is_missing_or_no_xml_is_named(ur5e, tmp_path):
    folder = tmp_path / "ur5e"
    shutil.copytree(find_resource("config/moveit/ur5e"), folder)
    (folder / "kinematics.yaml").unlink()
    (folder / "ur5e.srdf").write_text("<robot>")
    lines = [str(finding) for finding in check_moveit(folder, ur5e)]
    assert any("kinematics.yaml" in line and "is missing" in line for line in lines)
    assert any("ur5e.srdf" in line and "cannot be read" in line for line in lines)


def test_neighbours_and_fingers_need_no_check_but_pairs_that_only_never_met_do():
    semantics = read_srdf(find_resource("config/moveit/ur5e/ur5e.srdf"))
    assert set(semantics.disabled.values()) >= {"Adjacent", "Never", "Hand"}
    assert frozenset(("upper_arm_link", "forearm_link")) in semantics.not_checked()
    assert frozenset(("base_link_inertia", "upper_arm_link")) not in semantics.not_checked()
